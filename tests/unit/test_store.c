/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/str.h"
#include "codec/sha256.h"
#include "model/model_json.h"
#include "model/strings.h"
#include "store/blob.h"
#include "store/cache.h"
#include "store/revision.h"

#define KEY "c2d559a37bda0c3c18e0d02c6e2294a1d0caa177b334e95af6e6210ca7af33fc"

struct fixture {
	char dir[32];
	struct store *store;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	strcpy(f->dir, "/tmp/mvm-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(store_open(f->dir, 0, &f->store, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	store_free(f->store);
	assert_int_equal(tree_remove_at(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

static void put_file(int dir_fd, const char *name, const char *text)
{
	assert_int_equal(file_create_at(dir_fd, name, text, strlen(text), 0600), 0);
}

static void assert_file(int dir_fd, const char *name, const char *text)
{
	AUTO_FREE char *actual = NULL;
	assert_int_equal(file_read_at(dir_fd, name, 4096, &actual, NULL), 0);
	assert_string_equal(actual, text);
}

static void save_spec(struct store *s, const char *id)
{
	struct mvm_template_spec spec = {
		.schema_version = 1,
		.template_id = (char *)(uintptr_t)id,
		.flake_ref = (char[]){ "dir:/x" },
		.profile = (char[]){ "minimal" },
		.role = (char[]){ "worker" },
		.vcpus = 1,
		.mem_mib = 128,
	};
	assert_int_equal(store_spec_save(s, &spec, NULL), 0);
}

/* A revision whose two files hold the same text. */
static int publish(struct store *s, const char *id, const char *revision, const char *text)
{
	AUTO_DONE(staging) st = STAGING_NONE;
	struct mvm_digest d;
	struct mvm_template_revision rev = {
		.schema_version = 1,
		.revision_hash = (char *)(uintptr_t)revision,
		.flake_ref = (char[]){ "dir:/x" },
		.flake_lock_hash = (char[]){ "lock1" },
		.artifact_paths = { .vmlinux = (char[]){ "vmlinux" },
				    .rootfs = (char[]){ "rootfs.ext4" },
				    .fc_base_config = (char[]){ "fc-base.json" } },
		.profile = (char[]){ "minimal" },
		.role = (char[]){ "worker" },
	};
	int r = store_stage(s, &st, NULL);
	if (r < 0)
		return r;
	put_file(st.fd, "rootfs.ext4", text);
	put_file(st.fd, "vmlinux", text);
	if ((r = store_blob_take(s, st.fd, "rootfs.ext4", &d, NULL, NULL)) < 0 ||
	    (r = store_blob_take(s, st.fd, "vmlinux", &d, NULL, NULL)) < 0 ||
	    (r = store_checksums_write(st.fd, id, revision, NULL, 0, NULL)) < 0 ||
	    (r = store_revision_save(st.fd, &rev, NULL)) < 0)
		return r;
	return store_revision_publish(s, &st, id, revision, NULL);
}

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
	assert_non_null(err.hint);
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
	assert_non_null(err.hint);
	/* nobody, root included, creates folders there */
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
		/* as the owner, without root's power to write anywhere */
		if (chmod(f->dir, 0500) < 0 || chown(f->dir, 65534, 65534) < 0 ||
		    setgid(65534) < 0 || setuid(65534) < 0)
			_exit(2);
		int r = store_open(f->dir, 0, &s, &err);
		_exit(r == -EACCES && strstr(err.text, "is not writable") && err.hint ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chown(f->dir, 0, 0), 0);
	assert_int_equal(chmod(f->dir, 0700), 0);
	assert_int_equal(status, 0);
}

static void equal_files_become_one_blob(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) st = STAGING_NONE;
	struct mvm_digest a, b, c;
	struct stat sa, sb;
	uint64_t bytes = 0;

	assert_int_equal(store_stage(f->store, &st, NULL), 0);
	put_file(st.fd, "a", "same");
	put_file(st.fd, "b", "same");
	put_file(st.fd, "c", "other");
	assert_int_equal(store_blob_take(f->store, st.fd, "a", &a, &bytes, NULL), 1);
	assert_int_equal(bytes, 4);
	assert_int_equal(store_blob_take(f->store, st.fd, "b", &b, NULL, NULL), 0);
	assert_int_equal(store_blob_take(f->store, st.fd, "b", &b, NULL, NULL), 0);
	assert_int_equal(store_blob_take(f->store, st.fd, "c", &c, NULL, NULL), 1);
	assert_true(digest_equal(&a, &b));
	assert_false(digest_equal(&a, &c));
	assert_int_equal(fstatat(st.fd, "a", &sa, 0), 0);
	assert_int_equal(fstatat(st.fd, "b", &sb, 0), 0);
	assert_int_equal(sa.st_ino, sb.st_ino);
	assert_int_equal(sa.st_nlink, 3);
	assert_int_equal(sa.st_mode & 07777, 0444);

	assert_int_equal(store_blob_link(f->store, &c, st.fd, "d", NULL), 0);
	assert_file(st.fd, "d", "other");
	struct mvm_error err = { 0 };
	c.bytes[0] ^= 1;
	assert_int_equal(store_blob_link(f->store, &c, st.fd, "e", &err), -ENOENT);
	assert_false(store_blobs_copied(f->store));
}

static void a_blob_that_was_cut_short_is_replaced(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) st = STAGING_NONE;
	struct mvm_digest d;
	char hex[DIGEST_HEX_SIZE];

	sha256_buf("whole", 5, &d);
	digest_hex(&d, hex);
	put_file(store_dir(f->store, STORE_BLOBS), hex, "wh");
	assert_int_equal(store_stage(f->store, &st, NULL), 0);
	put_file(st.fd, "a", "whole");
	assert_int_equal(store_blob_take(f->store, st.fd, "a", &d, NULL, NULL), 1);
	assert_file(store_dir(f->store, STORE_BLOBS), hex, "whole");
}

static void only_regular_files_become_blobs(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) st = STAGING_NONE;
	struct mvm_digest d;

	assert_int_equal(store_stage(f->store, &st, NULL), 0);
	assert_int_equal(symlinkat("/etc/passwd", st.fd, "link"), 0);
	assert_int_equal(mkfifoat(st.fd, "fifo", 0600), 0);
	assert_int_equal(mkdirat(st.fd, "dir", 0700), 0);
	assert_int_equal(store_blob_take(f->store, st.fd, "link", &d, NULL, NULL), -ELOOP);
	assert_int_equal(store_blob_take(f->store, st.fd, "fifo", &d, NULL, NULL), -EINVAL);
	assert_int_equal(store_blob_take(f->store, st.fd, "dir", &d, NULL, NULL), -EINVAL);
}

static void a_published_revision_is_found_and_loaded(void **state)
{
	struct fixture *f = *state;
	char id[STORE_ID_SIZE], rev[STORE_REVISION_SIZE];
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
	assert_int_equal(store_revision_verify(dir, NULL), 0);
	assert_int_equal(store_template_list(f->store, &ids, NULL), 0);
	assert_int_equal(ids.n, 1);
	assert_int_equal(store_revision_list(f->store, "web", &revisions, NULL), 0);
	assert_int_equal(revisions.n, 2);

	/* the symbolic link leads there on its own, too */
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
	assert_int_equal(store_checksums_write(st.fd, "web", "r1", NULL, 0, NULL), 0);
	assert_int_equal(store_revision_load(f->store, "web", "r1", &rev, NULL, NULL), 0);
	assert_int_equal(store_revision_save(st.fd, &rev, NULL), 0);
	assert_int_equal(store_revision_publish(f->store, &st, "web", "r1", NULL), 0);
	staging_done(&st);

	AUTO_CLOSE int now = store_revision_open(f->store, "web", "r1", NULL);
	assert_file(now, "snapshot/mem.bin", "memory");
	assert_file(now, "rootfs.ext4", "text");
	assert_int_equal(store_revision_verify(now, NULL), 0);
	/* only the store's own scratch folder is left in tmp */
	assert_int_equal(dir_list(store_dir(f->store, STORE_TMP), &left), 0);
	assert_int_equal(left.n, 1);
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

static void readers_keep_the_files_of_a_revision_that_is_removed(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	save_spec(f->store, "web");
	assert_int_equal(publish(f->store, "web", "r1", "old"), 1);
	AUTO_CLOSE int dir = store_revision_open(f->store, "web", "r1", NULL);
	assert_int_equal(store_revision_remove(f->store, "web", "r1", NULL), 0);
	assert_file(dir, "rootfs.ext4", "old");
	assert_int_equal(store_revision_load(f->store, "web", "r1", &rev, NULL, NULL), -ENOENT);
	assert_int_equal(close(TAKE_FD(dir)), 0);
	assert_int_equal(store_sweep(f->store), 1);

	/* without readers nothing waits for the sweep */
	assert_int_equal(publish(f->store, "web", "r1", "old"), 1);
	assert_int_equal(store_revision_remove(f->store, "web", "r1", NULL), 0);
	assert_int_equal(store_sweep(f->store), 0);
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
	char rev[STORE_REVISION_SIZE];

	save_spec(f->store, "web");
	AUTO_FREE char *link = str_printf("%s/templates/web/current", f->dir);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		(void)unlink(link);
		assert_int_equal(symlink(cases[i].target, link), 0);
		assert_int_equal(store_current_get(f->store, "web", rev, NULL), cases[i].code);
		if (cases[i].code == 0)
			assert_string_equal(rev, "r1");
	}
	/* and replaced by ours, but only for a revision that exists */
	assert_int_equal(store_current_set(f->store, "web", "r1", NULL), -ENOENT);
	assert_int_equal(publish(f->store, "web", "r1", "x"), 1);
	assert_int_equal(store_current_set(f->store, "web", "r1", NULL), 0);
	assert_int_equal(store_current_get(f->store, "web", rev, NULL), 0);
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
	assert_int_equal(store_checksums_write(st.fd, "web", "r1", &artifact, 1, NULL), 0);
	assert_int_equal(store_revision_verify(st.fd, &err), 0);

	put_file(st.fd, "extra", "x");
	assert_int_equal(store_revision_verify(st.fd, &err), -EBADMSG);
	assert_string_equal(err.text, "'extra' is not in checksums.json");
	assert_int_equal(unlinkat(st.fd, "extra", 0), 0);
	assert_int_equal(unlinkat(st.fd, "a", 0), 0);
	assert_int_equal(store_revision_verify(st.fd, &err), -EBADMSG);
	assert_string_equal(err.text, "'a' is missing");
	put_file(st.fd, "a", "0ne");
	assert_int_equal(store_revision_verify(st.fd, &err), -EBADMSG);
	assert_string_equal(err.text, "'a' is damaged: its digest is not the one recorded");
}

static void staging_of_the_living_stays_and_of_the_dead_goes(void **state)
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
			(void)pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(store_sweep(f->store), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(store_sweep(f->store), 1);
	assert_file(mine.fd, "x", "x");

	/* plain files go only when they are old */
	int tmp = store_dir(f->store, STORE_TMP);
	put_file(tmp, "file.new", "x");
	put_file(tmp, "file.old", "x");
	const struct timespec old[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	assert_int_equal(utimensat(tmp, "file.old", old, 0), 0);
	assert_int_equal(store_sweep(f->store), 1);
	assert_int_equal(faccessat(tmp, "file.new", F_OK, 0), 0);
	(void)close(ready[0]);
	(void)close(ready[1]);
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
	(void)close(one);
	assert_int_equal(store_claim_revision(f->store, "web", "r1"), -EBUSY);
	(void)close(two);
	AUTO_CLOSE int claim = store_claim_revision(f->store, "web", "r1");
	assert_true(claim >= 0);
}

static void a_cache_hit_needs_the_fingerprint_and_all_blobs(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO_DONE(store_build) got = { 0 };
	struct mvm_digest d;
	char *command[] = { (char[]){ "/bin/sh" }, NULL };
	char *facts[] = { (char[]){ "lock=x" }, NULL };
	struct store_build build = {
		.fingerprint = (char[]){ "f1" },
		.built_at = 7,
		.n_artifacts = 1,
		.run = { .command = { command, 1 } },
		.facts = { facts, 1 },
	};

	assert_int_equal(store_stage(f->store, &st, NULL), 0);
	put_file(st.fd, "a", "root");
	assert_int_equal(store_blob_take(f->store, st.fd, "a", &d, NULL, NULL), 1);
	strcpy(build.artifacts[0].name, "rootfs");
	build.artifacts[0].digest = d;

	assert_int_equal(store_cache_get(f->store, KEY, "f1", &got, NULL), 0);
	assert_int_equal(store_cache_put(f->store, KEY, &build, NULL), 0);
	assert_int_equal(store_cache_get(f->store, KEY, "f2", &got, NULL), 0);
	assert_int_equal(store_cache_get(f->store, KEY, "f1", &got, NULL), 1);
	assert_int_equal(got.n_artifacts, 1);
	assert_string_equal(got.artifacts[0].name, "rootfs");
	assert_true(digest_equal(&got.artifacts[0].digest, &d));
	assert_string_equal(got.run.command.v[0], "/bin/sh");
	assert_string_equal(got.facts.v[0], "lock=x");
	store_build_done(&got);

	char hex[DIGEST_HEX_SIZE];
	digest_hex(&d, hex);
	assert_int_equal(unlinkat(store_dir(f->store, STORE_BLOBS), hex, 0), 0);
	assert_int_equal(store_cache_get(f->store, KEY, "f1", &got, NULL), 0);
	assert_int_equal(store_cache_get(f->store, "../x", "f1", &got, NULL), -EINVAL);
}

static void the_cache_keeps_the_latest_builds_and_outlives_damage(void **state)
{
	struct fixture *f = *state;
	char name[16];
	struct store_build build = { .fingerprint = name };

	for (int i = 0; i < 10; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(store_cache_put(f->store, KEY, &build, NULL), 0);
	}
	for (int i = 0; i < 10; i++) {
		AUTO_DONE(store_build) got = { 0 };
		(void)snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(store_cache_get(f->store, KEY, name, &got, NULL), i >= 2);
	}

	AUTO_DONE(store_build) got = { 0 };
	int dir = store_dir(f->store, STORE_BUILDS);
	assert_int_equal(unlinkat(dir, KEY ".json", 0), 0);
	put_file(dir, KEY ".json", "{\"builds\": 3");
	assert_int_equal(store_cache_get(f->store, KEY, "f9", &got, NULL), 0);
	assert_int_equal(store_cache_put(f->store, KEY, &build, NULL), 0);
	assert_int_equal(store_cache_get(f->store, KEY, "f9", &got, NULL), 1);
}

/* What a killed publisher may leave behind is the old state or the new one. */
static void check_after_crash(const char *dir)
{
	AUTO(store) s = NULL;
	AUTO_DONE(strv) left = { 0 };
	char rev[STORE_REVISION_SIZE];

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
		assert_int_equal(store_revision_verify(fd, NULL), 0);
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
	store_free(f->store); /* its scratch folder would count as left behind */
	f->store = NULL;

	for (unsigned i = 0; i < 60; i++) {
		int ready[2], status;
		char c;
		assert_int_equal(pipe(ready), 0);
		pid_t pid = fork();
		if (pid == 0)
			publish_for_ever(f->dir, ready[1]);
		(void)close(ready[1]);
		assert_int_equal(read(ready[0], &c, 1), 1);
		(void)close(ready[0]);
		/* spread the moments of death over a few rounds of publishing */
		const struct timespec wait = { .tv_nsec = (long)(i * 7919 % 97) * 50000 };
		(void)nanosleep(&wait, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		check_after_crash(f->dir);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_missing_data_folder_is_created_private),
		TEST(a_data_folder_that_others_may_write_is_refused),
		TEST(a_data_folder_that_cannot_be_used_is_explained),
		TEST(a_folder_without_write_permission_is_refused),
		TEST(equal_files_become_one_blob),
		TEST(a_blob_that_was_cut_short_is_replaced),
		TEST(only_regular_files_become_blobs),
		TEST(a_published_revision_is_found_and_loaded),
		TEST(a_revision_is_replaced_whole),
		TEST(readers_keep_the_files_of_a_revision_that_is_replaced),
		TEST(readers_keep_the_files_of_a_revision_that_is_removed),
		TEST(current_links_of_other_programs_are_read),
		TEST(damage_is_found_and_named),
		TEST(staging_of_the_living_stays_and_of_the_dead_goes),
		TEST(locks_name_their_holder),
		TEST(leases_keep_a_revision_from_being_claimed),
		TEST(a_cache_hit_needs_the_fingerprint_and_all_blobs),
		TEST(the_cache_keeps_the_latest_builds_and_outlives_damage),
		TEST(a_publisher_killed_at_any_moment_leaves_a_whole_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
