/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

/* A store in a scratch folder for each test, and helpers that fill it. */

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
#include "store/blob.h"
#include "store/revision.h"

struct fixture {
	char dir[32];
	struct store *store;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	strcpy(f->dir, "/tmp/mvm-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(store_open(f->dir, 0, &f->store, NULL), 0);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	store_free(f->store);
	assert_int_equal(tree_remove_at(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

static inline void put_file(int dir_fd, const char *name, const char *text)
{
	assert_int_equal(file_create_at(dir_fd, name, text, strlen(text), 0600), 0);
}

static inline void assert_file(int dir_fd, const char *name, const char *text)
{
	AUTO_FREE char *actual = NULL;
	assert_int_equal(file_read_at(dir_fd, name, 4096, &actual, NULL), 0);
	assert_string_equal(actual, text);
}

static inline void save_spec(struct store *s, const char *id)
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

/* Publish a revision whose two files hold the same text. */
static inline int publish(struct store *s, const char *id, const char *revision, const char *text)
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
	    (r = store_revision_save(st.fd, &rev, NULL)) < 0 ||
	    (r = store_checksums_write(st.fd, id, revision, NULL, 0, NULL, NULL)) < 0)
		return r;
	return store_revision_publish(s, &st, id, revision, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
