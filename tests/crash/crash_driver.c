/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Operations on the store that the crash tests need and no command of mvm offers alone.
 *
 *   crash-driver DIR check             is everything in this data folder whole?
 *   crash-driver DIR snapshot ID [N]   publish the current revision again, with a snapshot; N: with
 *                                      other memory, and the facts of a snapshot that is made here
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "model/model_json.h"
#include "model/strings.h"
#include "start/context.h"
#include "start/facts.h"
#include "start/working_set.h"
#include "store/blob.h"
#include "store/revision.h"

#define STATE	     "state of the devices\n"
#define MEMORY_PAGES 256u

/* Memory of several chunks, and a working set with its first page: VMs may start from a part. */
static int add_memory(int dir, uint64_t number, struct mvm_error *err)
{
	AUTO_FREE uint64_t *memory = malloc((size_t)MEMORY_PAGES * WORKING_SET_PAGE);
	uint8_t bits[MEMORY_PAGES / 8] = { 1 };
	const struct working_set set = { .n_pages = MEMORY_PAGES, .n_set = 1, .bits = bits };
	uint64_t x = number + 1;

	if (!memory)
		return mvm_error_oom(err);
	for (size_t i = 0; i < (size_t)MEMORY_PAGES * WORKING_SET_PAGE / sizeof(*memory); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memory[i] = x;
	}
	int r = file_create_at(dir, "mem.bin", memory, (size_t)MEMORY_PAGES * WORKING_SET_PAGE,
			       0600);
	if (r == 0)
		r = file_create_at(dir, "vmstate.bin", STATE, strlen(STATE), 0444);
	if (r < 0)
		return mvm_error_set(err, r, "cannot write the snapshot: %s", strerror(-r));
	return working_set_save(dir, &set, err);
}

static int host_facts(struct store *s, struct strv *ret, struct mvm_error *err)
{
	static const struct strv no_artifacts;
	struct mvm mvm = { .store = s };
	const struct mvm_template_revision any = { .run.network = MVM_NETWORK_NONE };
	const struct vmm_config config = {
		.vcpus = 1, .mem_mib = 64, .kernel = "", .cmdline = "x", .dir_fd = -1
	};
	AUTO_DONE(vmm_probe) probe = { 0 };
	struct facts_input in = { .probe = &probe, .config = &config, .artifacts = &no_artifacts };

	int r = context_backend(&mvm, NULL, &any, NULL, &in.ops, &probe, err);
	return r < 0 ? r : facts_gather(&in, ret, err);
}

static int add_snapshot(struct store *s, const char *id, const char *number, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_DONE(staging) st = STAGING_NONE;
	char current[MVM_REVISION_SIZE];

	AUTO_CLOSE int lock = store_lock_template(s, id, 0, "crash test", NULL);
	if (lock < 0)
		return mvm_error_set(err, lock, "cannot lock '%s': %s", id, strerror(-lock));
	int r = store_current_get(s, id, current, err);
	if (r >= 0)
		r = store_revision_load(s, id, current, &rev, NULL, err);
	if (r >= 0)
		r = store_stage_revision(s, id, current, &st, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int dir = dir_make_at(st.fd, "snapshot");
	r = dir < 0 ? mvm_error_set(err, dir, "cannot make a folder: %s", strerror(-dir))
		    : add_memory(dir, number ? strtoull(number, NULL, 10) : 0, err);
	if (r < 0)
		return r;
	mvm_snapshot_info_done(&rev.snapshot);
	rev.snapshot.boot_args = strdup("console=ttyS0");
	rev.snapshot.mem_size_bytes = (uint64_t)MEMORY_PAGES * WORKING_SET_PAGE;
	rev.snapshot.vmstate_size_bytes = strlen(STATE);
	AUTO_DONE(strv) compat = { 0 };
	if (number)
		r = host_facts(s, &compat, err);
	else
		strv_add(&compat, "backend=qemu");
	if (r < 0)
		return r;
	if (strings_take(&compat, &rev.snapshot.compat) < 0)
		return mvm_error_oom(err);
	rev.has_snapshot = true;
	r = store_revision_save(st.fd, &rev, err);
	if (r >= 0)
		r = store_checksums_write(st.fd, id, current, NULL, 0, NULL, err);
	return r < 0 ? r : store_revision_publish(s, &st, id, current, err);
}

static int list(struct store *s, enum store_dir which, struct strv *ret, struct mvm_error *err)
{
	int fd = store_dir_get(s, which, err);
	int r = fd < 0 ? fd : dir_list(fd, ret);
	return r < 0 ? mvm_error_set(err, r, "cannot list: %s", strerror(-r)) : r;
}

static int check_template(struct store *s, const char *id, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_DONE(strv) revisions = { 0 };
	char current[MVM_REVISION_SIZE];

	int r = store_spec_load(s, id, &spec, err);
	if (r >= 0)
		r = store_revision_list(s, id, &revisions, err);
	for (size_t i = 0; r >= 0 && i < revisions.n; i++) {
		AUTO_DONE(mvm_template_revision) rev = { 0 };
		AUTO_CLOSE int fd = -1;
		r = store_revision_load(s, id, revisions.v[i], &rev, &fd, err);
		if (r >= 0)
			r = store_revision_verify(fd, NULL, err);
	}
	if (r < 0)
		return mvm_error_context(err, r, "%s", id);
	r = store_current_get(s, id, current, err);
	if (r == -ENOENT)
		return 0; /* nothing built yet */
	if (r >= 0 && !strv_has(&revisions, current))
		r = mvm_error_set(err, -EBADMSG, "%s: current leads to '%s', which is missing", id,
				  current);
	return r;
}

static int check_blob(struct store *s, const char *hex, struct mvm_error *err)
{
	struct mvm_digest named, actual;
	AUTO_CLOSE int fd = openat(store_dir(s, STORE_BLOBS), hex,
				   O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || digest_parse(hex, &named) < 0 || sha256_fd(fd, NULL, &actual, NULL) < 0 ||
	    !digest_equal(&named, &actual))
		return mvm_error_set(err, -EBADMSG, "blob '%s' is damaged", hex);
	return 0;
}

static int check_kernel(struct store *s, const char *name, struct mvm_error *err)
{
	AUTO_FREE char *record = str_printf("%s/kernel.json", name);
	AUTO_FREE char *image = str_printf("%s/vmlinux", name);
	int fd = store_dir(s, STORE_KERNELS);
	if (faccessat(fd, record, F_OK, 0) < 0 || faccessat(fd, image, F_OK, 0) < 0)
		return mvm_error_set(err, -EBADMSG, "kernel '%s' is not whole", name);
	return 0;
}

static int check_cache(struct store *s, const char *name, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	size_t len;
	int r = file_read_at(store_dir(s, STORE_BUILDS), name, 1 << 20, &text, &len);
	return r < 0 ? mvm_error_set(err, r, "cannot read '%s'", name)
		     : json_read(text, len, name, &doc, err);
}

static int check(struct store *s, struct mvm_error *err)
{
	AUTO_DONE(strv) ids = { 0 }, blobs = { 0 }, kernels = { 0 }, builds = { 0 };

	int r = store_template_list(s, &ids, err);
	for (size_t i = 0; r >= 0 && i < ids.n; i++)
		r = check_template(s, ids.v[i], err);
	if (r >= 0)
		r = list(s, STORE_BLOBS, &blobs, err);
	for (size_t i = 0; r >= 0 && i < blobs.n; i++)
		r = check_blob(s, blobs.v[i], err);
	if (r >= 0)
		r = list(s, STORE_KERNELS, &kernels, err);
	for (size_t i = 0; r >= 0 && i < kernels.n; i++)
		r = check_kernel(s, kernels.v[i], err);
	if (r >= 0)
		r = list(s, STORE_BUILDS, &builds, err);
	for (size_t i = 0; r >= 0 && i < builds.n; i++)
		r = check_cache(s, builds.v[i], err);
	return r;
}

int main(int argc, char **argv)
{
	AUTO(store) s = NULL;
	struct mvm_error err = { 0 };

	int r = argc < 3 ? -EINVAL : store_open(argv[1], 0, &s, &err);
	if (r >= 0 && argc == 3 && strcmp(argv[2], "check") == 0)
		r = check(s, &err);
	else if (r >= 0 && (argc == 4 || argc == 5) && strcmp(argv[2], "snapshot") == 0)
		r = add_snapshot(s, argv[3], argv[4], &err); /* argv ends with NULL */
	else if (r >= 0)
		r = mvm_error_set(&err, -EINVAL, "usage: crash-driver DIR check|snapshot ID");
	if (r < 0)
		fprintf(stderr, "crash-driver: %s\n", err.text);
	return r < 0;
}
