/* SPDX-License-Identifier: Apache-2.0 */
/* The folders that may be the data folder, and the files that a sweep removes there. */
#include "store/gc.h"
#include "store_fixture.h"

#define MARKER "mvm-data.json"
#define SPEC   "{\"template_id\": \"web\", \"flake_ref\": \"dir:/x\", \"profile\": \"minimal\"}"
#define STAGED "tmp/stage.0123456789abcdef"

/* Setup: an empty folder of the caller's. */
static int empty_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	strcpy(f->dir, "/tmp/mvm-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	*state = f;
	return 0;
}

#define FOLDER_TEST(name) cmocka_unit_test_setup_teardown(name, empty_setup, teardown)

static char *at(const struct fixture *f, const char *name)
{
	char *path = str_printf("%s/%s", f->dir, name);
	assert_non_null(path);
	return path;
}

static void make_dir(const struct fixture *f, const char *name, mode_t mode)
{
	AUTO_FREE char *path = at(f, name);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void make_file(const struct fixture *f, const char *name, const char *text)
{
	AUTO_FREE char *path = at(f, name);
	put_file(AT_FDCWD, path, text);
}

static bool is_there(const struct fixture *f, const char *name)
{
	AUTO_FREE char *path = at(f, name);
	return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int try_open(const char *path, unsigned flags, struct mvm_error *err)
{
	AUTO(store) s = NULL;
	return store_open(path, flags, &s, err);
}

static void assert_refused(const char *path, int code, const char *says)
{
	struct mvm_error err;
	for (unsigned flags = 0; flags <= STORE_READ_ONLY; flags++) {
		err = (struct mvm_error){ 0 };
		assert_int_equal(try_open(path, flags, &err), code);
		if (!strstr(err.text, says))
			fail_msg("'%s' does not say '%s'", err.text, says);
		assert_true(err.reason[0] || code == -EOPNOTSUPP);
	}
}

static void a_new_or_empty_folder_gets_a_marker(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *marker = at(f, MARKER);
	AUTO_FREE char *below = at(f, "x/y");
	AUTO_FREE char *below_marker = at(f, "x/y/" MARKER);

	assert_int_equal(try_open(f->dir, STORE_READ_ONLY, NULL), 0);
	assert_false(is_there(f, MARKER));
	assert_int_equal(try_open(f->dir, 0, NULL), 0);
	assert_file(AT_FDCWD, marker, "{\"format\": 1}\n");
	assert_int_equal(try_open(f->dir, STORE_READ_ONLY, NULL), 0);

	assert_int_equal(unlink(marker), 0);
	make_dir(f, "x", 0700);
	assert_int_equal(try_open(below, STORE_READ_ONLY, NULL), 0);
	assert_int_equal(try_open(below, 0, NULL), 0);
	assert_file(AT_FDCWD, below_marker, "{\"format\": 1}\n");
}

static void data_folders_do_not_nest(void **state)
{
	static const char *const names[] = { "tmp", "volumes/v/deep", "new" };
	struct fixture *f = *state;

	assert_int_equal(try_open(f->dir, 0, NULL), 0);
	make_dir(f, "volumes", 0700);
	make_dir(f, "volumes/v", 0700);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		struct mvm_error err = { 0 };
		AUTO_FREE char *path = at(f, names[i]);
		AUTO_FREE char *marker = str_printf("%s/" MARKER, names[i]);
		assert_int_equal(try_open(path, 0, &err), -EPERM);
		assert_string_equal(err.reason, "data-folder-nested");
		assert_string_equal(err.subject, f->dir);
		assert_false(is_there(f, marker));
	}
}

/* Anybody may put a marker into /tmp. */
static void another_users_marker_forbids_nothing(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *marker = at(f, MARKER);
	AUTO_FREE char *data = at(f, "data");

	if (geteuid() != 0)
		return; /* only root can change a file's owner */
	make_file(f, MARKER, "{\"format\": 1}");
	assert_int_equal(chown(marker, 65534, 65534), 0);
	assert_int_equal(try_open(data, 0, NULL), 0);
}

static void assert_part(struct fixture *f, enum store_dir which, const char *reason,
			const char *part)
{
	struct mvm_error err = { 0 };
	AUTO(store) s = NULL;
	AUTO_FREE char *path = at(f, part);
	assert_int_equal(store_open(f->dir, 0, &s, NULL), 0);
	assert_int_equal(store_dir_get(s, which, &err), -EPERM);
	assert_string_equal(err.reason, reason);
	assert_string_equal(err.subject, path);
	assert_non_null(strstr(err.text, path));
}

/* A fresh mount at instances/ is such a subfolder. */
static void a_subfolder_that_others_can_write_to_is_named(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *instances = at(f, "instances");
	AUTO_FREE char *blobs = at(f, "blobs");

	assert_int_equal(try_open(f->dir, 0, NULL), 0);
	make_dir(f, "instances", 01777);
	assert_part(f, STORE_INSTANCES, "data-folder-open", "instances");
	make_dir(f, "blobs", 0770);
	assert_part(f, STORE_BLOBS, "data-folder-open", "blobs");
	assert_int_equal(chmod(blobs, 0700), 0); /* follow the hint */
	make_dir(f, "blobs/sha256", 0777);
	assert_part(f, STORE_BLOBS, "data-folder-open", "blobs/sha256");
	if (geteuid() != 0)
		return;
	assert_int_equal(chown(instances, 65534, 65534), 0);
	assert_part(f, STORE_INSTANCES, "data-folder-part", "instances");
}

static void an_empty_marker_is_completed(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *marker = at(f, MARKER);

	make_file(f, MARKER, "");
	assert_int_equal(try_open(f->dir, 0, NULL), 0);
	assert_file(AT_FDCWD, marker, "{\"format\": 1}\n");

	assert_int_equal(truncate(marker, 0), 0);
	make_file(f, "precious", "x");
	assert_refused(f->dir, -EPERM, "it contains 'precious'");
}

static void first_commands_at_once_all_work(void **state)
{
	struct fixture *f = *state;
	enum { N = 12, ROUNDS = 8 };

	for (int round = 0; round < ROUNDS; round++) {
		pid_t pids[N];
		int go[2];
		char c;
		AUTO_FREE char *path = str_printf("%s/%d/data", f->dir, round);
		assert_int_equal(pipe(go), 0);
		for (int i = 0; i < N; i++) {
			pids[i] = fork();
			if (pids[i] == 0) {
				struct mvm_error err = { 0 };
				AUTO(store) s = NULL;
				close(go[1]);
				(void)!read(go[0], &c, 1);
				bool fine = store_open(path, 0, &s, &err) == 0 &&
					    store_dir(s, (enum store_dir)(i % STORE_DIR_COUNT)) >=
						    0;
				if (!fine)
					fprintf(stderr, "%s\n", err.text);
				_exit(fine ? 0 : 1);
			}
		}
		close(go[0]);
		close(go[1]);
		for (int i = 0; i < N; i++) {
			int status;
			assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
			assert_int_equal(status, 0);
		}
	}
}

static void another_users_folder_is_refused_and_kept(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "tmp", 0700);
	assert_refused(f->dir, -EPERM, "is no data folder of mvm: it contains 'tmp'");
	make_dir(f, "tmp/precious", 0700);
	make_dir(f, STAGED, 0700);
	assert_refused(f->dir, -EPERM, "it contains 'tmp'");
	make_dir(f, "cache", 0700);
	make_file(f, "cache/x", "x");
	assert_refused(f->dir, -EPERM, "it contains");
	make_dir(f, "templates", 0755);
	make_dir(f, "templates/web", 0755);
	make_file(f, "templates/web/template.json", SPEC);
	assert_refused(f->dir, -EPERM, "it contains 'templates'");
	assert_true(is_there(f, STAGED));
	assert_false(is_there(f, MARKER));
	assert_false(is_there(f, "instances"));
}

/* Other programs use these names, too: an OCI layout's blobs, a build tool's locks. */
static void names_that_others_use_prove_nothing(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "blobs", 0700);
	make_dir(f, "blobs/sha256", 0700);
	make_file(f, "blobs/sha256/x", "x");
	assert_refused(f->dir, -EPERM, "it contains 'blobs'");
	make_dir(f, "locks", 0700);
	make_file(f, "locks/store", "");
	make_dir(f, "logs", 0700);
	make_file(f, "logs/events.jsonl", "x");
	make_dir(f, "tmp", 0700);
	make_dir(f, STAGED, 0700);
	assert_refused(f->dir, -EPERM, "it contains");
	assert_true(is_there(f, STAGED));
}

static void a_proof_is_judged_by_its_content(void **state)
{
	static const struct {
		const char *folders[2], *file, *good, *bad;
	} cases[] = {
		{ { "templates", "templates/web" },
		  "templates/web/template.json",
		  SPEC,
		  "{\"name\": \"a web site's\"}" },
		{ { "kernels", "kernels/k" },
		  "kernels/k/kernel.json",
		  "{\"added_at\": \"x\", \"vmlinux_sha256\": \"x\", \"modules_sha256\": \"x\"}",
		  "{\"argv\": [\"python\"], \"display_name\": \"Jupyter's\"}" },
		{ { "instances", "instances/i" },
		  "instances/i/instance.json",
		  "{\"template_id\": \"x\", \"revision_hash\": \"x\", \"backend\": \"qemu\", "
		  "\"boot_args\": \"\"}",
		  "[]" },
		{ { "cache" },
		  "cache/qemu.json",
		  "{\"key\": {}, \"binary_digest\": \"x\", \"version\": \"7\"}",
		  "junk" },
		{ { "cache" }, "cache/templates.index", "mvm-list\1", "index" },
		{ { "locks" },
		  "locks/boot_id",
		  "01234567-89ab-cdef-0123-456789abcdef",
		  "01234567-89ab-cdef-0123-456789abcdex" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *root = str_printf("%s/%zu", f->dir, i);
		const char *const bad[] = { "", cases[i].bad };
		struct fixture here = { 0 };
		snprintf(here.dir, sizeof(here.dir), "%s", root);
		assert_int_equal(mkdir(root, 0700), 0);
		for (size_t k = 0; k < 2 && cases[i].folders[k]; k++)
			make_dir(&here, cases[i].folders[k], 0700);
		AUTO_FREE char *file = at(&here, cases[i].file);
		for (size_t k = 0; k < MVM_ARRAY_SIZE(bad); k++) {
			make_file(&here, cases[i].file, bad[k]);
			assert_refused(root, -EPERM, "it contains");
			assert_int_equal(unlink(file), 0);
		}
		assert_int_equal(symlink("/etc/hostname", file), 0);
		assert_refused(root, -EPERM, "it contains");
		assert_int_equal(unlink(file), 0);
		make_file(&here, cases[i].file, cases[i].good);
		assert_int_equal(try_open(root, 0, NULL), 0);
	}
}

static void a_folder_of_an_earlier_version_is_adopted(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *marker = at(f, MARKER);
	AUTO_FREE char *alone = at(f, "README");

	/* a command that only reads */
	make_dir(f, "tmp", 0700);
	make_dir(f, "instances", 0700);
	assert_int_equal(try_open(f->dir, STORE_READ_ONLY, NULL), 0);
	assert_int_equal(try_open(f->dir, 0, NULL), 0);
	assert_int_equal(unlink(marker), 0);

	make_dir(f, "templates", 0700);
	make_dir(f, "templates/web", 0700);
	make_file(f, "templates/web/template.json", SPEC);
	make_dir(f, STAGED, 0700);
	make_file(f, "README", "x");
	assert_refused(f->dir, -EPERM, "it contains 'README'");
	assert_int_equal(unlink(alone), 0);
	assert_int_equal(try_open(f->dir, STORE_READ_ONLY, NULL), 0);
	assert_false(is_there(f, MARKER));
	assert_true(is_there(f, STAGED));
	assert_int_equal(try_open(f->dir, 0, NULL), 0);
	assert_true(is_there(f, MARKER));
	assert_false(is_there(f, STAGED));
}

static void a_marker_says_what_it_is(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *marker = at(f, MARKER);
	static const struct {
		const char *text;
		int code;
		const char *says;
	} cases[] = {
		{ "{\"format\": 2}", -EOPNOTSUPP,
		  "written by a newer mvm (format 2; this mvm knows 1)" },
		{ "{\"format\": 0}", -EBADMSG, "mvm-data.json: format: " },
		{ "{}", -EBADMSG, "mvm-data.json: format: " },
		{ "x", -EBADMSG, "mvm-data.json" },
	};

	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		make_file(f, MARKER, cases[i].text);
		assert_refused(f->dir, cases[i].code, cases[i].says);
		assert_int_equal(unlink(marker), 0);
	}
	/* a user may write the marker by hand; other files and keys of later versions do no harm */
	make_file(f, "lost+found", "x");
	make_file(f, MARKER, "{\"format\":1,\"since\":\"today\"}");
	assert_int_equal(try_open(f->dir, 0, NULL), 0);
	assert_int_equal(unlink(marker), 0);
	assert_int_equal(symlink("/etc/hostname", marker), 0);
	assert_refused(f->dir, -ELOOP, "cannot read mvm-data.json: it is a symbolic link");
	assert_int_equal(unlink(marker), 0);
	assert_int_equal(mkfifo(marker, 0600), 0);
	assert_refused(f->dir, -EINVAL, "cannot read mvm-data.json: it is no regular file");
}

static void a_marker_is_never_written_through_another_name(void **state)
{
	struct fixture *f = *state;
	struct mvm_error err = { 0 };
	AUTO_FREE char *data = at(f, "data");
	AUTO_FREE char *precious = at(f, "precious");
	AUTO_FREE char *marker = at(f, "data/" MARKER);

	make_dir(f, "data", 0700);
	make_file(f, "precious", "");
	assert_int_equal(link(precious, marker), 0);
	assert_int_equal(try_open(data, 0, &err), -EMLINK);
	assert_non_null(strstr(err.text, "has a second name"));
	assert_string_equal(err.reason, "data-folder-marker");
	assert_file(AT_FDCWD, precious, "");
}

/* A command that is killed while it replaces a file leaves one. */
static void prune_removes_old_temporary_files(void **state)
{
	static const char *const names[] = { "cache/file.0123456789abcdef",
					     "locks/file.0123456789abcdef",
					     "pool/file.0123456789abcdef", "cache/file.precious" };
	static const struct timespec long_ago[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct fixture *f = *state;
	AUTO(store) s = NULL;
	AUTO_DONE(gc) gc = { 0 };

	assert_int_equal(store_open(f->dir, 0, &s, NULL), 0);
	make_dir(f, "cache", 0700);
	make_dir(f, "locks", 0700);
	make_dir(f, "pool", 0700);
	make_file(f, "cache/file.fedcba9876543210", "just now");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		AUTO_FREE char *path = at(f, names[i]);
		make_file(f, names[i], "x");
		assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
	}
	gc.store = s;
	assert_int_equal(gc_collect(&gc, NULL), 0);
	for (size_t i = 0; i < 3; i++)
		assert_false(is_there(f, names[i]));
	assert_true(is_there(f, names[3]));
	assert_true(is_there(f, "cache/file.fedcba9876543210"));
}

static void a_foreign_lock_file_is_reported_with_a_hint(void **state)
{
	struct fixture *f = *state;
	struct mvm_error err = { 0 };
	AUTO(store) s = NULL;
	AUTO_DONE(gc) gc = { 0 };
	AUTO_FREE char *path = at(f, "locks/store");
	AUTO_FREE char *copy = at(f, "locks/copy");
	AUTO_FREE char *locks = at(f, "locks");

	assert_int_equal(store_open(f->dir, 0, &s, NULL), 0);
	make_dir(f, "locks", 0700);
	make_file(f, "locks/store", "precious");
	gc.store = s;
	assert_int_equal(gc_collect(&gc, &err), -EPERM);
	assert_non_null(
		strstr(err.text, "/locks/store': the file with that name is not a lock file"));
	assert_string_equal(err.reason, "lock-foreign");
	assert_string_equal(err.subject, path);

	assert_int_equal(unlink(path), 0);
	make_dir(f, "locks/store", 0700);
	assert_int_equal(gc_collect(&gc, &err), -EISDIR);
	assert_non_null(strstr(err.text, "/locks/store': it is a folder"));
	assert_string_equal(err.reason, "lock-foreign");
	assert_int_equal(rmdir(path), 0);

	make_file(f, "locks/store", "");
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(link(path, copy), 0);
	assert_int_equal(gc_collect(&gc, &err), -EMLINK);
	assert_string_equal(err.reason, "lock-linked");
	assert_string_equal(err.subject, locks);
}

static void places_of_other_programs_are_refused(void **state)
{
	struct fixture *f = *state;
	const char *home = getenv("HOME");
	AUTO_FREE char *before = home ? strdup(home) : NULL;

	assert_refused("/", -EPERM, "it is the root folder");
	assert_refused("/proc", -EPERM, "it is the root of a file system");
	make_file(f, MARKER, "{\"format\": 1}");
	assert_int_equal(setenv("HOME", f->dir, 1), 0);
	assert_refused(f->dir, -EPERM, "it is a home folder");
	assert_int_equal(before ? setenv("HOME", before, 1) : unsetenv("HOME"), 0);
	assert_int_equal(try_open(f->dir, 0, NULL), 0);
}

/* This holds only for root; a user may arrange folders freely. */
static void root_takes_only_paths_that_are_roots(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *data = at(f, "mine/data");
	AUTO_FREE char *link = at(f, "link");
	AUTO_FREE char *through_link = at(f, "link/data");
	AUTO_FREE char *above = at(f, "mine");
	AUTO_FREE char *dots = at(f, "mine/../mine//data/.");

	make_dir(f, "mine", 0755);
	assert_int_equal(symlink("mine", link), 0);
	if (geteuid() != 0) {
		assert_int_equal(try_open(through_link, 0, NULL), 0);
		assert_int_equal(try_open(data, 0, NULL), 0);
		return;
	}
	assert_refused(through_link, -EPERM, "link' is a symbolic link");
	assert_refused(link, -EPERM, "link' is a symbolic link");
	assert_int_equal(chmod(above, 0777), 0);
	assert_refused(data, -EPERM, "mine' may be changed by others");
	assert_int_equal(chmod(above, 0770), 0);
	assert_refused(data, -EPERM, "mine' may be changed by others");
	assert_int_equal(chown(above, 65534, 0) | chmod(above, 0755), 0);
	assert_refused(data, -EPERM, "mine' belongs to another user");
	assert_false(is_there(f, "mine/data"));
	assert_int_equal(chown(above, 0, 0) | chmod(above, 01777), 0);
	assert_int_equal(try_open(data, 0, NULL), 0);
	assert_int_equal(try_open(dots, 0, NULL), 0);
	assert_int_equal(chown(data, 65534, 0), 0);
	assert_refused(data, -EPERM, "data' belongs to another user");
}

static void subfolders_are_the_callers_and_no_links(void **state)
{
	struct fixture *f = *state;
	struct mvm_error err = { 0 };
	AUTO_FREE char *tmp = at(f, "data/tmp");
	AUTO_FREE char *data = at(f, "data");
	AUTO(store) s = NULL;

	make_dir(f, "tmp", 0700); /* the link's target */
	make_dir(f, STAGED, 0700);
	make_dir(f, "data", 0700);
	make_file(f, "data/" MARKER, "{\"format\": 1}");
	assert_int_equal(symlink("../tmp", tmp), 0);
	assert_int_equal(store_open(data, 0, &s, &err), 0);
	assert_true(is_there(f, STAGED));
	assert_true(store_dir_get(s, STORE_TMP, &err) < 0);

	make_dir(f, "data/locks", 0777);
	assert_int_equal(store_dir_get(s, STORE_LOCKS, &err), -EPERM);
	assert_non_null(strstr(err.text, "others may write to it"));
}

static void only_mvms_own_names_are_swept(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {
		"precious",
		"stage.",
		"stage.old",
		"stage.0123456789abcdef0",
		"stage.0123456789abcdeg",
		"stage.0123456789ABCDEF",
		"file.0123456789abcdef", /* of files only */
	};
	AUTO_FREE char *link = at(f, "tmp/stage.fedcba9876543210");

	assert_int_equal(try_open(f->dir, 0, NULL), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		AUTO_FREE char *name = str_printf("tmp/%s", names[i]);
		make_dir(f, name, 0700);
	}
	assert_int_equal(symlink("precious", link), 0);
	make_dir(f, STAGED, 0700);
	assert_int_equal(try_open(f->dir, 0, NULL), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		AUTO_FREE char *name = str_printf("tmp/%s", names[i]);
		assert_true(is_there(f, name));
	}
	assert_true(is_there(f, "tmp/stage.fedcba9876543210"));
	assert_false(is_there(f, STAGED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(a_new_or_empty_folder_gets_a_marker),
		FOLDER_TEST(data_folders_do_not_nest),
		FOLDER_TEST(another_users_marker_forbids_nothing),
		FOLDER_TEST(a_subfolder_that_others_can_write_to_is_named),
		FOLDER_TEST(an_empty_marker_is_completed),
		FOLDER_TEST(first_commands_at_once_all_work),
		FOLDER_TEST(another_users_folder_is_refused_and_kept),
		FOLDER_TEST(names_that_others_use_prove_nothing),
		FOLDER_TEST(a_folder_of_an_earlier_version_is_adopted),
		FOLDER_TEST(a_proof_is_judged_by_its_content),
		FOLDER_TEST(a_marker_says_what_it_is),
		FOLDER_TEST(a_marker_is_never_written_through_another_name),
		FOLDER_TEST(prune_removes_old_temporary_files),
		FOLDER_TEST(a_foreign_lock_file_is_reported_with_a_hint),
		FOLDER_TEST(places_of_other_programs_are_refused),
		FOLDER_TEST(root_takes_only_paths_that_are_roots),
		FOLDER_TEST(subfolders_are_the_callers_and_no_links),
		FOLDER_TEST(only_mvms_own_names_are_swept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
