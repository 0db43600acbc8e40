/* SPDX-License-Identifier: Apache-2.0 */
#include "store_fixture.h"

static void a_missing_data_folder_is_created_private(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *path = str_printf("%s/a/b", f->dir);
	AUTO(store) s = NULL;
	struct stat st;
	assert_int_equal(store_open(path, STORE_READ_ONLY, &s, NULL), 0);
	assert_int_equal(store_root(s), -1);
	assert_int_equal(store_dir(s, STORE_TEMPLATES), -ENOENT);
	AUTO_DONE(strv) ids = { 0 };
	assert_int_equal(store_template_list(s, &ids, NULL), 0);
	assert_int_equal(ids.n, 0);
	assert_int_equal(access(path, F_OK), -1);

	/* without this, the new store would lie inside the fixture's own */
	assert_int_equal(unlinkat(store_root(f->store), "mvm-data.json", 0), 0);
	AUTO(store) made = NULL;
	assert_int_equal(store_open(path, 0, &made, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_true(store_dir(made, STORE_BLOBS) >= 0);
	assert_int_equal(store_dir(made, STORE_BLOBS), store_dir(made, STORE_BLOBS));
}

static void a_data_folder_that_others_may_write_is_refused(void **state)
{
	struct fixture *f = *state;
	AUTO(store) s = NULL;
	struct mvm_error err = { 0 };
	AUTO_FREE char *says = str_printf("data folder '%s' may be written by others", f->dir);

	assert_int_equal(chmod(f->dir, 0770), 0);
	assert_int_equal(store_open(f->dir, 0, &s, &err), -EPERM);
	assert_string_equal(err.text, says);
	assert_true(err.reason[0]);
	assert_int_equal(chmod(f->dir, 0700), 0);
}

static void a_data_folder_that_cannot_be_used_is_explained(void **state)
{
	struct fixture *f = *state;
	struct mvm_error err = { 0 };
	AUTO(store) s = NULL;
	AUTO_FREE char *file = str_printf("%s/file", f->dir);
	AUTO_FREE char *below = str_printf("%s/file/data", f->dir);

	put_file(store_root(f->store), "file", "x");
	assert_int_equal(store_open(file, 0, &s, &err), -ENOTDIR);
	assert_true(str_starts(err.text, "cannot open data folder '"));
	assert_int_equal(store_open(below, 0, &s, &err), -ENOTDIR);
	assert_true(err.reason[0]);
	/* not even root can create folders there */
	assert_true(store_open("/proc/mvm", 0, &s, &err) < 0);
	assert_true(str_starts(err.text, "cannot create data folder '/proc/mvm': "));
	assert_null(s);
}

static void a_folder_without_write_permission_is_refused(void **state)
{
	struct fixture *f = *state;
	if (geteuid() != 0)
		skip();
	pid_t pid = fork();
	if (pid == 0) {
		struct mvm_error err = { 0 };
		struct store *s = NULL;
		/* as the owner, who cannot write everywhere as root can */
		if (chmod(f->dir, 0500) < 0 || chown(f->dir, 65534, 65534) < 0 ||
		    setgid(65534) < 0 || setuid(65534) < 0)
			_exit(2);
		int r = store_open(f->dir, 0, &s, &err);
		_exit(r == -EACCES && strstr(err.text, "is not writable") && err.reason[0] ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chown(f->dir, 0, 0), 0);
	assert_int_equal(chmod(f->dir, 0700), 0);
	assert_int_equal(status, 0);
}

static void only_staging_of_dead_processes_is_swept(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) mine = STAGING_NONE;
	int ready[2];
	char c;

	assert_int_equal(store_stage(f->store, &mine, NULL), 0);
	put_file(mine.fd, "x", "x");
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct store *s = NULL;
		struct staging st = STAGING_NONE;
		if (store_open(f->dir, 0, &s, NULL) < 0 || store_stage(s, &st, NULL) < 0 ||
		    mkdirat(st.fd, "deep", 0700) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(store_sweep(f->store), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(store_sweep(f->store), 1);
	assert_file(mine.fd, "x", "x");

	/* only old plain files are swept */
	int tmp = store_dir(f->store, STORE_TMP);
	put_file(tmp, "file.0123456789abcdef", "x");
	put_file(tmp, "file.fedcba9876543210", "x");
	put_file(tmp, "file.old", "x"); /* a foreign file */
	const struct timespec old[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	assert_int_equal(utimensat(tmp, "file.old", old, 0), 0);
	assert_int_equal(utimensat(tmp, "file.fedcba9876543210", old, 0), 0);
	assert_int_equal(store_sweep(f->store), 1);
	assert_int_equal(faccessat(tmp, "file.0123456789abcdef", F_OK, 0), 0);
	assert_int_equal(faccessat(tmp, "file.old", F_OK, 0), 0);
	close(ready[0]);
	close(ready[1]);
}

static void locks_name_their_holder(void **state)
{
	struct fixture *f = *state;
	char holder[LOCK_HOLDER_SIZE];
	AUTO_FREE char *expected = str_printf("%d builds it", (int)getpid());
	AUTO_CLOSE int first = store_lock_template(f->store, "web", 0, "builds it", NULL);
	assert_true(first >= 0);
	assert_int_equal(store_lock_template(f->store, "web", LOCK_NOWAIT, "edits it", holder),
			 -EBUSY);
	assert_string_equal(holder, expected);
	AUTO_CLOSE int other = store_lock_template(f->store, "web2", LOCK_NOWAIT, "x", holder);
	assert_true(other >= 0);
	assert_int_equal(store_lock_template(f->store, "../x", 0, "x", holder), -EINVAL);
}

static void leases_keep_a_revision_from_being_claimed(void **state)
{
	struct fixture *f = *state;
	int one = store_lease_revision(f->store, "web", "r1");
	int two = store_lease_revision(f->store, "web", "r1");
	assert_true(one >= 0 && two >= 0);
	assert_true(store_revision_in_use(f->store, "web", "r1"));
	assert_false(store_revision_in_use(f->store, "web", "r2"));
	close(one);
	assert_int_equal(store_claim_revision(f->store, "web", "r1"), -EBUSY);
	close(two);
	AUTO_CLOSE int claim = store_claim_revision(f->store, "web", "r1");
	assert_true(claim >= 0);
}

static void a_snapshot_is_held_or_claimed_beside_leases(void **state)
{
	struct fixture *f = *state;
	AUTO_CLOSE int one = store_lease_revision(f->store, "web", "r1");
	AUTO_CLOSE int two = store_lease_revision(f->store, "web", "r1");
	assert_int_equal(store_hold_snapshot(one, "r1"), 0);
	assert_int_equal(store_hold_snapshot(two, "r1"), 0);
	store_let_go_snapshot(one, "r1");
	assert_int_equal(store_claim_snapshot(f->store, "web", "r1"), -EBUSY);
	store_let_go_snapshot(two, "r1");
	AUTO_CLOSE int claim = store_claim_snapshot(f->store, "web", "r1");
	assert_true(claim >= 0);
	assert_int_equal(store_hold_snapshot(one, "r1"), -EBUSY);
	assert_int_equal(store_hold_snapshot(one, "r2"), 0);
	/* nor is the lease gone */
	assert_int_equal(store_claim_revision(f->store, "web", "r1"), -EBUSY);
}

static void a_template_claim_covers_all_its_revisions(void **state)
{
	struct fixture *f = *state;
	int lease = store_lease_revision(f->store, "web", "r7");
	assert_true(lease >= 0);
	assert_int_equal(store_claim_template(f->store, "web"), -EBUSY);
	AUTO_CLOSE int other = store_claim_template(f->store, "web2");
	assert_true(other >= 0);
	close(lease);
	AUTO_CLOSE int claim = store_claim_template(f->store, "web");
	assert_true(claim >= 0);
	assert_int_equal(store_claim_revision(f->store, "web", "r1"), -EBUSY);
	assert_true(store_revision_in_use(f->store, "web", "r1"));
}

static bool has_lock(struct store *s, const char *name)
{
	return faccessat(store_dir(s, STORE_LOCKS), name, F_OK, 0) == 0;
}

static void lock_files_of_removed_templates_are_swept(void **state)
{
	struct fixture *f = *state;
	static const char *const ids[] = { "gone", "busy", "there" };

	for (size_t i = 0; i < 3; i++) {
		AUTO_CLOSE int lock = store_lock_template(f->store, ids[i], 0, "x", NULL);
		AUTO_CLOSE int lease = store_lease_revision(f->store, ids[i], "r1");
		assert_true(lock >= 0 && lease >= 0);
	}
	save_spec(f->store, "there");
	AUTO_CLOSE int busy = store_lock_template(f->store, "busy", 0, "makes it", NULL);
	assert_int_equal(store_sweep_locks(f->store), 0);
	assert_false(has_lock(f->store, "template.gone") || has_lock(f->store, "lease.gone"));
	assert_true(has_lock(f->store, "template.busy") && has_lock(f->store, "lease.busy"));
	assert_true(has_lock(f->store, "template.there") && has_lock(f->store, "lease.there"));
	close(TAKE_FD(busy));

	/* a VM still runs from the removed revision */
	AUTO_CLOSE int lease __attribute__((unused)) = store_lease_revision(f->store, "busy", "r1");
	assert_int_equal(store_sweep_locks(f->store), 0);
	assert_true(has_lock(f->store, "lease.busy"));
	assert_int_equal(store_claim_revision(f->store, "busy", "r1"), -EBUSY);
}

static void reading_a_store_takes_no_locks_and_writes_nothing(void **state)
{
	struct fixture *f = *state;
	struct mvm_error err = { 0 };
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO(store) s = NULL;

	save_spec(f->store, "web");
	assert_int_equal(store_open(f->dir, STORE_READ_ONLY, &s, NULL), 0);
	assert_int_equal(store_lock_template(s, "web", 0, "x", NULL), -EROFS);
	assert_int_equal(store_lease_revision(s, "web", "r1"), -EROFS);
	assert_int_equal(store_lock(s, "x", NULL), -EROFS);
	assert_false(store_revision_in_use(s, "web", "r1"));
	assert_int_equal(store_stage(s, &st, &err), -EROFS);
	assert_non_null(strstr(err.text, "' is not writable: "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_missing_data_folder_is_created_private),
		TEST(a_data_folder_that_others_may_write_is_refused),
		TEST(a_data_folder_that_cannot_be_used_is_explained),
		TEST(a_folder_without_write_permission_is_refused),
		TEST(only_staging_of_dead_processes_is_swept),
		TEST(locks_name_their_holder),
		TEST(leases_keep_a_revision_from_being_claimed),
		TEST(a_snapshot_is_held_or_claimed_beside_leases),
		TEST(a_template_claim_covers_all_its_revisions),
		TEST(lock_files_of_removed_templates_are_swept),
		TEST(reading_a_store_takes_no_locks_and_writes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
