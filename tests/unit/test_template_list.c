/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/resource.h>

#include "base/clock.h"
#include "store_fixture.h"
#include "template/list_index.h"
#include "tick.h"

/* The store's fixture, seen through the library. */
static struct mvm seen(void **state)
{
	return (struct mvm){ .store = ((struct fixture *)*state)->store };
}

static int add_line(void *arg, const struct mvm_template_summary *s)
{
	strbuf_addf(arg, "%s %s %u %s%s\n", s->template_id, s->problem ? "damaged" : s->role,
		    s->mem_mib, s->revision ? s->revision : "-", s->has_snapshot ? " snap" : "");
	return 0;
}

/* List all templates.  The listing records those that did not change in this tick of the clock. */
static char *listed(void **state)
{
	AUTO_DONE(strbuf) text = { 0 };
	struct mvm mvm = seen(state);
	assert_int_equal(template_list(&mvm, 0, add_line, &text, NULL), 0);
	return text.len ? strbuf_take(&text) : strdup("");
}

#define assert_listed(state, expected)                                                             \
	do {                                                                                       \
		AUTO_FREE char *now_ = listed(state);                                              \
		assert_string_equal(now_, expected);                                               \
	} while (0)

static int cache_dir(void **state)
{
	return store_dir(((struct fixture *)*state)->store, STORE_CACHE);
}

static bool has_index(void **state)
{
	return faccessat(cache_dir(state), "templates.index", F_OK, 0) == 0;
}

/* Let a tick pass, so that a listing can record all earlier changes. */
static void next_tick(void **state)
{
	wait_for_tick(cache_dir(state));
}

static void make_three(void **state)
{
	struct fixture *f = *state;
	save_spec(f->store, "a");
	save_spec(f->store, "b");
	save_spec(f->store, "c");
	assert_int_equal(publish(f->store, "a", "r1", "one"), 1);
	assert_int_equal(store_current_set(f->store, "a", "r1", NULL), 0);
	next_tick(state);
}

#define LISTED "a worker 128 r1\nb worker 128 -\nc worker 128 -\n"

/* The index, read as another program would. */
static size_t read_index(void **state, struct list_record ret[16])
{
	AUTO_FREE char *text = NULL;
	size_t len, n;

	assert_int_equal(file_read_at(cache_dir(state), "templates.index", 1 << 20, &text, &len),
			 0);
	assert_int_equal((len - 16) % sizeof(struct list_record), 0);
	n = (len - 16) / sizeof(struct list_record);
	assert_in_range(n, 0, 16);
	memcpy(ret, text + 16, n * sizeof(struct list_record));
	return n;
}

static void write_index(void **state, const void *data, size_t len)
{
	assert_int_equal(
		file_replace_unsynced_at(cache_dir(state), "templates.index", data, len, 0600), 0);
}

/* Change a file in place: its inode and size stay. */
static void overwrite(void **state, const char *path, const char *from, const char *to)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int templates = store_dir(((struct fixture *)*state)->store, STORE_TEMPLATES);
	AUTO_CLOSE int fd = openat(templates, path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(file_read_fd(fd, 1 << 20, &text, &len), 0);
	char *at = strstr(text, from);
	assert_non_null(at);
	assert_int_equal(strlen(from), strlen(to));
	memcpy(at, to, strlen(to));
	assert_int_equal(pwrite(fd, text, len, 0), (ssize_t)len);
}

static void unchanged_templates_come_from_the_index(void **state)
{
	struct list_record records[16];

	make_three(state);
	assert_listed(state, LISTED);
	assert_int_equal(read_index(state, records), 3);
	assert_string_equal(records[0].current, "r1");
	assert_string_equal(records[1].id, "b");

	/* put a wrong record into the index: it shows whether the listing uses the index */
	AUTO_DONE(list_index) ix = { 0 };
	list_index_open(((struct fixture *)*state)->store, &ix);
	const struct list_record *known = list_index_find(&ix, "a");
	assert_non_null(known);
	struct list_record lie = *known;
	lie.mem_mib = 7;
	list_index_add(&ix, &lie);
	list_index_save(&ix);
	assert_listed(state, "a worker 7 r1\nb worker 128 -\nc worker 128 -\n");
}

static void recent_changes_are_not_recorded(void **state)
{
	struct mvm mvm = seen(state);
	AUTO_DONE(strbuf) text = { 0 };

	make_three(state); /* within the hour */
	assert_int_equal(template_list(&mvm, 3600 * NS_PER_S, add_line, &text, NULL), 0);
	assert_string_equal(text.data, LISTED);
	assert_false(has_index(state));
}

static void edits_by_other_programs_are_seen(void **state)
{
	struct fixture *f = *state;
	int templates = store_dir(f->store, STORE_TEMPLATES);

	make_three(state);
	assert_listed(state, LISTED);
	overwrite(state, "a/template.json", "128", "129");
	assert_listed(state, "a worker 129 r1\nb worker 128 -\nc worker 128 -\n");
	next_tick(state);
	assert_listed(state, "a worker 129 r1\nb worker 128 -\nc worker 128 -\n");

	/* change the revision in place, replace it, and make another one current */
	overwrite(state, "a/artifacts/r1/revision.json", "\"schema_version\": 1",
		  "\"schema_version\": x");
	assert_listed(state, "a damaged 0 -\nb worker 128 -\nc worker 128 -\n");
	assert_int_equal(publish(f->store, "a", "r1", "two"), 0);
	next_tick(state);
	assert_listed(state, "a worker 129 r1\nb worker 128 -\nc worker 128 -\n");
	assert_int_equal(publish(f->store, "a", "r2", "three"), 1);
	assert_int_equal(store_current_set(f->store, "a", "r2", NULL), 0);
	assert_listed(state, "a worker 129 r2\nb worker 128 -\nc worker 128 -\n");
	next_tick(state);
	assert_listed(state, "a worker 129 r2\nb worker 128 -\nc worker 128 -\n");
	assert_int_equal(unlinkat(templates, "a/current", 0), 0);
	assert_int_equal(symlinkat("revisions/r1", templates, "a/current"), 0);
	assert_listed(state, "a worker 129 r1\nb worker 128 -\nc worker 128 -\n");
	assert_int_equal(unlinkat(templates, "a/current", 0), 0);
	assert_listed(state, "a worker 129 -\nb worker 128 -\nc worker 128 -\n");
	assert_int_equal(symlinkat("artifacts/none", templates, "a/current"), 0);
	assert_listed(state, "a damaged 0 -\nb worker 128 -\nc worker 128 -\n");
}

static void the_index_follows_new_and_removed_templates(void **state)
{
	struct fixture *f = *state;
	struct list_record records[16];

	make_three(state);
	assert_listed(state, LISTED);
	save_spec(f->store, "aa");
	next_tick(state);
	assert_listed(state, "a worker 128 r1\naa worker 128 -\nb worker 128 -\nc worker 128 -\n");
	assert_int_equal(read_index(state, records), 4);
	assert_string_equal(records[1].id, "aa");
	assert_int_equal(store_template_remove(f->store, "a", NULL), 0);
	assert_int_equal(store_template_remove(f->store, "b", NULL), 0);
	assert_listed(state, "aa worker 128 -\nc worker 128 -\n");
	assert_int_equal(read_index(state, records), 2);
	assert_int_equal(store_template_remove(f->store, "c", NULL), 0);
	assert_listed(state, "aa worker 128 -\n");
	assert_int_equal(read_index(state, records), 1);
	assert_int_equal(store_template_remove(f->store, "aa", NULL), 0);
	assert_listed(state, "");
	assert_int_equal(read_index(state, records), 0);
}

static void a_damaged_index_is_only_read_past(void **state)
{
	AUTO_FREE char *good = NULL, *bad = NULL;
	struct list_record records[16];
	size_t len;

	make_three(state);
	assert_listed(state, LISTED);
	assert_int_equal(file_read_at(cache_dir(state), "templates.index", 1 << 20, &good, &len),
			 0);
	bad = calloc(2, len);
	assert_non_null(bad);
	for (size_t i = 0; i < len; i++) { /* damage every byte in turn */
		memcpy(bad, good, len);
		bad[i] = (char)(bad[i] ^ (1 << i % 8));
		write_index(state, bad, len);
		assert_listed(state, LISTED);
	}
	for (size_t i = 0; i < len; i += 13) { /* cut short */
		write_index(state, good, i);
		assert_listed(state, LISTED);
	}
	memcpy(bad, good, len);
	memcpy(bad + len, good + 16, len - 16); /* every record twice */
	write_index(state, bad, 2 * len - 16);
	assert_listed(state, LISTED);
	memcpy(bad + 16, good + len - sizeof(records[0]), sizeof(records[0])); /* out of order */
	write_index(state, bad, len);
	assert_listed(state, LISTED);
	assert_listed(state, LISTED);
	assert_int_equal(read_index(state, records), 3);
	/* a folder in its place */
	assert_int_equal(unlinkat(cache_dir(state), "templates.index", 0), 0);
	assert_int_equal(mkfifoat(cache_dir(state), "templates.index", 0600), 0);
	assert_listed(state, LISTED);
	assert_int_equal(read_index(state, records), 3);
	assert_int_equal(unlinkat(cache_dir(state), "templates.index", 0), 0);
	assert_int_equal(mkdirat(cache_dir(state), "templates.index", 0700), 0);
	assert_listed(state, LISTED);
	assert_int_equal(store_sweep(((struct fixture *)*state)->store), 0); /* nothing is left */
}

static void a_store_that_is_only_read_is_listed(void **state)
{
	struct fixture *f = *state;
	struct mvm mvm = { 0 };
	AUTO_DONE(strbuf) before = { 0 }, after = { 0 };

	make_three(state);
	assert_int_equal(store_open(f->dir, STORE_READ_ONLY, &mvm.store, NULL), 0);
	assert_int_equal(template_list(&mvm, 0, add_line, &before, NULL), 0);
	assert_false(has_index(state));
	assert_listed(state, LISTED);
	assert_true(has_index(state));
	assert_int_equal(template_list(&mvm, 0, add_line, &after, NULL), 0);
	store_free(mvm.store);
	assert_string_equal(before.data, LISTED);
	assert_string_equal(after.data, LISTED);
}

static void an_index_that_cannot_be_written_is_not_needed(void **state)
{
	struct rlimit small = { .rlim_cur = 500 }, old;
	struct list_record records[16];

	make_three(state);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_listed(state, LISTED);
	assert_false(has_index(state));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_listed(state, LISTED);
	assert_int_equal(read_index(state, records), 3);

	/* an existing index stays when the next one cannot be written */
	save_spec(((struct fixture *)*state)->store, "d");
	next_tick(state);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_listed(state, LISTED "d worker 128 -\n");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(read_index(state, records), 3);
	assert_listed(state, LISTED "d worker 128 -\n");
	assert_int_equal(read_index(state, records), 4);
}

static int stop(void *arg, const struct mvm_template_summary *s)
{
	(void)arg;
	return strcmp(s->template_id, "b") == 0 ? 42 : 0;
}

static void a_listing_can_be_stopped(void **state)
{
	struct mvm mvm = seen(state);
	make_three(state);
	assert_int_equal(template_list(&mvm, 0, stop, NULL, NULL), 42);
	assert_false(has_index(state)); /* it would have only half of the templates */
	assert_listed(state, LISTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(unchanged_templates_come_from_the_index),
		TEST(recent_changes_are_not_recorded),
		TEST(edits_by_other_programs_are_seen),
		TEST(the_index_follows_new_and_removed_templates),
		TEST(a_damaged_index_is_only_read_past),
		TEST(a_store_that_is_only_read_is_listed),
		TEST(an_index_that_cannot_be_written_is_not_needed),
		TEST(a_listing_can_be_stopped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
