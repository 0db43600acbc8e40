/* SPDX-License-Identifier: Apache-2.0 */
#include "store_fixture.h"

static void a_published_revision_is_found_and_loaded(void **state)
{
	struct fixture *f = *state;
	char id[MVM_TEMPLATE_ID_SIZE], rev[MVM_REVISION_SIZE];
	AUTO_DONE(mvm_template_revision) loaded = { 0 };
	AUTO_DONE(strv) ids = { 0 }, revisions = { 0 };
	AUTO_CLOSE int dir = -1;
	struct mvm_error err = { 0 };

	save_spec(f->store, "web");
	assert_int_equal(store_template_resolve(f->store, "web", id, rev, &err), -ENOENT);
	assert_string_equal(err.text, "template 'web' has not been built");
	assert_int_equal(publish(f->store, "web", "abcd1", "one"), 1);
	assert_int_equal(publish(f->store, "web", "abcd2", "two"), 1);
	assert_int_equal(store_current_set(f->store, "web", "abcd1", NULL), 0);

	assert_int_equal(store_template_resolve(f->store, "web", id, rev, NULL), 0);
	assert_string_equal(id, "web");
	assert_string_equal(rev, "abcd1");
	assert_int_equal(store_template_resolve(f->store, "web@abcd2", id, rev, NULL), 0);
	assert_string_equal(rev, "abcd2");
	assert_int_equal(store_template_resolve(f->store, "web@abcd", id, rev, &err), -EINVAL);
	assert_int_equal(store_template_resolve(f->store, "web@zz", id, rev, &err), -ENOENT);
	assert_int_equal(store_template_resolve(f->store, "web@../x", id, rev, &err), -EINVAL);
	assert_int_equal(store_template_resolve(f->store, "no", id, rev, &err), -ENOENT);
	assert_string_equal(err.text, "no template 'no'");
	assert_int_equal(store_template_resolve(f->store, "../web", id, rev, &err), -EINVAL);

	assert_int_equal(store_revision_load(f->store, "web", "abcd1", &loaded, &dir, NULL), 0);
	assert_string_equal(loaded.revision_hash, "abcd1");
	assert_file(dir, "rootfs.ext4", "one");
	assert_int_equal(store_revision_verify(dir, NULL, NULL), 0);
	assert_int_equal(store_template_list(f->store, &ids, NULL), 0);
	assert_int_equal(ids.n, 1);
	assert_int_equal(store_revision_list(f->store, "web", &revisions, NULL), 0);
	assert_int_equal(revisions.n, 2);

	/* the symbolic link leads there, too */
	AUTO_FREE char *path = str_printf("%s/templates/web/current/vmlinux", f->dir);
	assert_file(AT_FDCWD, path, "one");
}

static void a_revision_is_replaced_whole(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_DONE(strv) left = { 0 };

	save_spec(f->store, "web");
	assert_int_equal(publish(f->store, "web", "r1", "text"), 1);

	assert_int_equal(store_stage_revision(f->store, "web", "r1", &st, NULL), 0);
	assert_int_equal(mkdirat(st.fd, "snapshot", 0700), 0);
	AUTO_CLOSE int snapshot = dir_open_at(st.fd, "snapshot");
	put_file(snapshot, "mem.bin", "memory");
	assert_int_equal(store_checksums_write(st.fd, "web", "r1", NULL, 0, NULL, NULL), 0);
	assert_int_equal(store_revision_load(f->store, "web", "r1", &rev, NULL, NULL), 0);
	assert_int_equal(store_revision_save(st.fd, &rev, NULL), 0);
	assert_int_equal(store_revision_publish(f->store, &st, "web", "r1", NULL), 0);
	staging_done(&st);

	AUTO_CLOSE int now = store_revision_open(f->store, "web", "r1", NULL);
	assert_file(now, "snapshot/mem.bin", "memory");
	assert_file(now, "rootfs.ext4", "text");
	assert_int_equal(store_revision_verify(now, NULL, NULL), 0);
	/* only the store's own scratch folder is left in tmp */
	assert_int_equal(dir_list(store_dir(f->store, STORE_TMP), &left), 0);
	assert_int_equal(left.n, 1);
}

/* A new snapshot replaces its revision, and so does the removal of one. */
static void a_revision_with_a_foreign_file_is_never_replaced(void **state)
{
	static const char *const foreign[] = { "notes", "snapshot/notes" };
	struct fixture *f = *state;
	save_spec(f->store, "web");
	assert_int_equal(publish(f->store, "web", "r1", "old"), 1);
	AUTO_CLOSE int dir = store_revision_open(f->store, "web", "r1", NULL);
	AUTO_CLOSE int snapshot = dir_make_at(dir, "snapshot");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(foreign); i++) {
		AUTO_DONE(staging) st = STAGING_NONE;
		struct mvm_error err = { 0 };
		put_file(dir, foreign[i], "precious");
		assert_int_equal(store_stage_revision(f->store, "web", "r1", &st, &err), -EEXIST);
		assert_non_null(strstr(err.text, foreign[i]));
		assert_true(err.hint[0]);
		assert_int_equal(publish(f->store, "web", "r1", "new"), -EEXIST);
		assert_file(dir, foreign[i], "precious");
		assert_int_equal(unlinkat(dir, foreign[i], 0), 0);
	}
	assert_int_equal(mkdirat(snapshot, "empty", 0700), 0);
	assert_int_equal(store_revision_is_pure(dir), 0);
	assert_int_equal(unlinkat(snapshot, "empty", AT_REMOVEDIR), 0);
	assert_int_equal(store_revision_is_pure(dir), 1);
	assert_int_equal(publish(f->store, "web", "r1", "new"), 0);
}

static void readers_keep_the_files_of_a_revision_that_is_replaced(void **state)
{
	struct fixture *f = *state;
	save_spec(f->store, "web");
	assert_int_equal(publish(f->store, "web", "r1", "old"), 1);
	AUTO_CLOSE int dir = store_revision_open(f->store, "web", "r1", NULL);
	assert_true(dir >= 0);
	assert_int_equal(publish(f->store, "web", "r1", "new"), 0);
	assert_int_equal(store_sweep(f->store), 0);
	assert_file(dir, "rootfs.ext4", "old");
	AUTO_CLOSE int now = store_revision_open(f->store, "web", "r1", NULL);
	assert_file(now, "rootfs.ext4", "new");

	assert_int_equal(close(TAKE_FD(dir)), 0);
	assert_int_equal(store_sweep(f->store), 1);
	assert_file(now, "rootfs.ext4", "new");
}

static void remove_revision(struct store *s, const char *id, const char *revision)
{
	AUTO_DONE(removal) removal = REMOVAL_NONE;
	assert_int_equal(store_removal_start(s, id, &removal, NULL), 0);
	assert_int_equal(store_removal_add(s, &removal, revision, NULL), 0);
	assert_int_equal(store_removal_commit(&removal, NULL), 0);
}

static void readers_keep_the_files_of_a_revision_that_is_removed(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	save_spec(f->store, "web");
	assert_int_equal(publish(f->store, "web", "r1", "old"), 1);
	AUTO_CLOSE int dir = store_revision_open(f->store, "web", "r1", NULL);
	remove_revision(f->store, "web", "r1");
	assert_file(dir, "rootfs.ext4", "old");
	assert_int_equal(store_revision_load(f->store, "web", "r1", &rev, NULL, NULL), -ENOENT);
	assert_int_equal(close(TAKE_FD(dir)), 0);
	assert_int_equal(store_sweep(f->store), 1);

	/* without readers the old folder is removed at once */
	assert_int_equal(publish(f->store, "web", "r1", "old"), 1);
	remove_revision(f->store, "web", "r1");
	assert_int_equal(store_sweep(f->store), 0);
}

static void revisions_removed_together_are_gone_at_once(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(removal) removal = REMOVAL_NONE;
	AUTO_DONE(strv) left = { 0 };
	int tmp = store_dir(f->store, STORE_TMP);

	assert_int_equal(publish(f->store, "web", "r1", "one"), 1);
	assert_int_equal(publish(f->store, "web", "r2", "two"), 1);
	assert_int_equal(publish(f->store, "web", "r3", "three"), 1);
	assert_int_equal(store_removal_start(f->store, "web", &removal, NULL), 0);
	assert_int_equal(store_removal_add(f->store, &removal, "r1", NULL), 0);
	assert_int_equal(store_removal_add(f->store, &removal, "r1", NULL), -ENOENT);
	assert_int_equal(store_removal_add(f->store, &removal, "../r2", NULL), -EINVAL);
	assert_int_equal(store_removal_add(f->store, &removal, "r3", NULL), 0);
	assert_int_equal(store_revision_list(f->store, "web", &left, NULL), 0);
	assert_int_equal(left.n, 1);
	assert_string_equal(left.v[0], "r2");
	assert_int_equal(store_removal_commit(&removal, NULL), 0);
	removal_done(&removal);
	strv_done(&left);
	left = (struct strv){ 0 };
	assert_int_equal(dir_list(tmp, &left), 0);
	assert_int_equal(left.n, 1); /* the store's scratch folder */
}

static void current_links_of_other_programs_are_read(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *target;
		int code;
	} cases[] = {
		{ "revisions/r1", 0 },
		{ "artifacts/r1", 0 },
		{ "artifacts/../../x", -EBADMSG },
		{ "r1", -EBADMSG },
		{ "/artifacts/r1", -EBADMSG },
		{ "artifacts/", -EBADMSG },
		{ "artifacts/R", -EBADMSG },
	};
	char rev[MVM_REVISION_SIZE];
	struct mvm_error err = { 0 };

	save_spec(f->store, "web");
	AUTO_FREE char *link = str_printf("%s/templates/web/current", f->dir);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		unlink(link);
		assert_int_equal(symlink(cases[i].target, link), 0);
		assert_int_equal(store_current_get(f->store, "web", rev, NULL), cases[i].code);
		if (cases[i].code == 0)
			assert_string_equal(rev, "r1");
	}
	/* the last good link names a missing revision */
	unlink(link);
	assert_int_equal(symlink("artifacts/r1", link), 0);
	assert_int_equal(store_current_find(f->store, "web", rev, &err), -EBADMSG);
	assert_string_equal(err.text, "template 'web': its current revision 'r1' is missing");
	/* our own link replaces it, but only for a revision that exists */
	assert_int_equal(store_current_set(f->store, "web", "r1", NULL), -ENOENT);
	assert_int_equal(publish(f->store, "web", "r1", "x"), 1);
	assert_int_equal(store_current_set(f->store, "web", "r1", NULL), 0);
	assert_int_equal(store_current_find(f->store, "web", rev, NULL), 0);
}

static void damage_is_found_and_named(void **state)
{
	struct fixture *f = *state;
	struct mvm_error err = { 0 };
	AUTO_DONE(staging) st = STAGING_NONE;

	assert_int_equal(store_stage(f->store, &st, NULL), 0);
	put_file(st.fd, "a", "one");
	put_file(st.fd, "b", "two");
	struct mvm_digest known;
	sha256_buf("one", 3, &known);
	const struct mvm_artifact artifact = { "a", known };
	assert_int_equal(store_checksums_write(st.fd, "web", "r1", &artifact, 1, NULL, NULL), 0);
	assert_int_equal(store_revision_verify(st.fd, NULL, &err), 0);

	put_file(st.fd, "extra", "x");
	assert_int_equal(store_revision_verify(st.fd, NULL, &err), -EBADMSG);
	assert_string_equal(err.text, "'extra' is not in checksums.json");
	assert_int_equal(unlinkat(st.fd, "extra", 0), 0);
	assert_int_equal(unlinkat(st.fd, "a", 0), 0);
	assert_int_equal(store_revision_verify(st.fd, NULL, &err), -EBADMSG);
	assert_string_equal(err.text, "'a' is missing");
	put_file(st.fd, "a", "0ne");
	assert_int_equal(store_revision_verify(st.fd, NULL, &err), -EBADMSG);
	assert_string_equal(err.text, "'a' is damaged: its digest is not the one recorded");
}

/* A killed publisher leaves the old state or the new one. */
static void check_after_crash(const char *dir)
{
	AUTO(store) s = NULL;
	AUTO_DONE(strv) left = { 0 };
	char rev[MVM_REVISION_SIZE];

	assert_int_equal(store_open(dir, 0, &s, NULL), 0);
	assert_int_equal(dir_list(store_dir(s, STORE_TMP), &left), 0);
	assert_int_equal(left.n, 0);
	int r = store_current_get(s, "web", rev, NULL);
	if (r == -ENOENT)
		return;
	assert_int_equal(r, 0);
	AUTO_DONE(strv) revisions = { 0 };
	assert_int_equal(store_revision_list(s, "web", &revisions, NULL), 0);
	assert_true(strv_has(&revisions, rev));
	for (size_t i = 0; i < revisions.n; i++) {
		AUTO_DONE(mvm_template_revision) loaded = { 0 };
		AUTO_CLOSE int fd = -1;
		assert_int_equal(store_revision_load(s, "web", revisions.v[i], &loaded, &fd, NULL),
				 0);
		assert_int_equal(store_revision_verify(fd, NULL, NULL), 0);
	}
}

static void publish_for_ever(const char *dir, int ready_fd)
{
	static const char *const names[] = { "r0", "r1", "r2" };
	struct store *s = NULL;

	if (store_open(dir, 0, &s, NULL) < 0)
		_exit(1);
	for (unsigned i = 0;; i++) {
		const char *name = names[i % 3];
		if (publish(s, "web", name, name) < 0 ||
		    store_current_set(s, "web", name, NULL) < 0)
			_exit(1);
		if (i == 0 && write(ready_fd, "x", 1) != 1)
			_exit(1);
	}
}

static void a_publisher_killed_at_any_moment_leaves_a_whole_store(void **state)
{
	struct fixture *f = *state;
	save_spec(f->store, "web");
	store_free(f->store); /* else its scratch folder would count as a leftover */
	f->store = NULL;

	for (unsigned i = 0; i < 60; i++) {
		int ready[2], status;
		char c;
		assert_int_equal(pipe(ready), 0);
		pid_t pid = fork();
		if (pid == 0)
			publish_for_ever(f->dir, ready[1]);
		close(ready[1]);
		assert_int_equal(read(ready[0], &c, 1), 1);
		close(ready[0]);
		/* spread the kills over a few rounds of publishing */
		const struct timespec wait = { .tv_nsec = (long)(i * 7919 % 97) * 50000 };
		nanosleep(&wait, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		check_after_crash(f->dir);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_published_revision_is_found_and_loaded),
		TEST(a_revision_is_replaced_whole),
		TEST(a_revision_with_a_foreign_file_is_never_replaced),
		TEST(readers_keep_the_files_of_a_revision_that_is_replaced),
		TEST(readers_keep_the_files_of_a_revision_that_is_removed),
		TEST(revisions_removed_together_are_gone_at_once),
		TEST(current_links_of_other_programs_are_read),
		TEST(damage_is_found_and_named),
		TEST(a_publisher_killed_at_any_moment_leaves_a_whole_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
