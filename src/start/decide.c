/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/seal.h"
#include "base/str.h"
#include "codec/sha256.h"
#include "model/run.h"
#include "start/disks.h"
#include "start/facts.h"
#include "start/host_memory.h"
#include "start/memory_file.h"
#include "start/start.h"
#include "store/trust.h"

void start_plan_done(struct start_plan *p)
{
	free(p->reason);
	free(p->cmdline);
	strv_done(&p->facts);
	*p = (struct start_plan){ 0 };
}

/* The part of the machine's config that a snapshot depends on. */
static struct vmm_config describe_config(const struct start_request *q, const struct start_plan *p)
{
	const struct mvm_template_revision *rev = &q->revision->rev;
	struct vmm_config c = {
		.name = q->revision->id,
		.vcpus = p->vcpus,
		.mem_mib = p->mem_mib,
		.dir_fd = q->revision->dir_fd,
		.kernel = rev->artifact_paths.vmlinux,
		.initrd = rev->artifact_paths.initrd,
		.cmdline = p->cmdline,
		.drives = { { .name = rev->artifact_paths.rootfs, .read_only = true } },
		.n_drives = 1,
		.network = rev->run.network != MVM_NETWORK_NONE,
	};
	own_disks_attach(p->disk_mib, &c);
	return c;
}

static int damaged(struct mvm_error *err, const char *what)
{
	return mvm_error_set(err, -EBADMSG, "the snapshot is damaged: %s", what);
}

/* Does a file have the recorded digest?  1, 0, or -errno. */
static int digest_holds(int fd, const char *expected_hex)
{
	struct mvm_digest expected, actual;
	if (!expected_hex || digest_parse(expected_hex, &expected) < 0)
		return 0;
	int r = sha256_fd(fd, NULL, &actual, NULL);
	return r < 0 ? r : digest_equal(&expected, &actual);
}

/* The recorded properties of one of the snapshot's files. */
struct expected {
	const char *name;
	const char *sha256;
	const char *identity; /* at the capture; if it is the same, skip hashing.  NULL: hash it */
	uint64_t bytes;
	const char *changed; /* the error when its contents differ */
};

/* A large file's identity has changed, for example in a copy of the data folder, or a seal is not
 * known.  Are the contents still the captured ones?  1, 0, or -errno. */
static int is_remembered(const struct start_request *q, const char *path)
{
	const struct trust how = {
		.store = q->mvm ? q->mvm->store : NULL,
		.id = q->revision->id,
		.only = path,
	};
	/* the caller describes a failure */
	int r = store_trust(q->revision->dir_fd, &q->revision->sums, &how, NULL);
	if (r == -EBADMSG)
		return 0;
	return r < 0 ? r : 1;
}

static int check_file(const struct start_request *q, int snapshot_fd, const struct expected *e,
		      struct mvm_error *err)
{
	AUTO_FREE char *identity = NULL;
	const char *name = e->name;
	struct stat st = { 0 };
	char seal[SEAL_SIZE];
	AUTO_FREE char *path = str_printf("snapshot/%s", name);
	if (!path)
		return mvm_error_oom(err);
	/* without O_NONBLOCK the open of a FIFO waits for its writer */
	AUTO_CLOSE int fd = openat(snapshot_fd, name,
				   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 1;

	if (r > 0)
		r = S_ISREG(st.st_mode) && (uint64_t)st.st_size == e->bytes;
	bool sealed = r > 0 && seal_read(fd, seal);
	if (sealed && store_trust_sealed(q->revision->dir_fd, &q->revision->sums, path))
		return 0;
	if (r > 0 && e->identity) {
		r = memory_file_identity(fd, &identity);
		if (r == 0 && str_eq(identity, e->identity))
			return 0;
		r = r < 0 ? r : is_remembered(q, path);
	} else if (r > 0) {
		r = sealed ? is_remembered(q, path) : digest_holds(fd, e->sha256);
	}
	if (r == 0)
		return damaged(err, e->changed);
	if (r == -ENOENT)
		return damaged(err, "one of its files is missing");
	if (r == -ELOOP)
		return damaged(err, "one of its files is a link");
	if (r < 0)
		return mvm_error_set(err, r, "cannot read the snapshot's %s: %s", name,
				     strerror(-r));
	return 0;
}

static int check_own_image(const struct start_request *q, struct mvm_error *err)
{
	int r = is_remembered(q, OWN_IMAGE_PATH);
	if (r == 0)
		return damaged(err, SNAPSHOT_IMAGE " is not the image that the guest has mounted");
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '" OWN_IMAGE_PATH "': %s", strerror(-r));
	return 0;
}

/* Are the files the captured ones? */
static int check_files(const struct start_request *q, struct mvm_error *err)
{
	const struct revision *revision = q->revision;
	const struct mvm_snapshot_info *info = &revision->rev.snapshot;
	if (revision->source_fd >= 0)
		return 0; /* as in revision_trust() */
	AUTO_CLOSE int fd = dir_open_at(revision->dir_fd, "snapshot");
	if (fd < 0)
		return damaged(err, "its folder is missing");
	const struct expected files[] = {
		{ "vmstate.bin", revision->vmstate_sha256, NULL, info->vmstate_size_bytes,
		  "vmstate.bin is not the state that was captured" },
		{ "mem.bin", revision->mem_sha256, mvm_snapshot_info_compat(info, FACT_MEM_FILE),
		  info->mem_size_bytes, "mem.bin is not the memory that was captured" },
		{ own_disks[OWN_DISK_DATA].file, revision->disk_sha256[OWN_DISK_DATA],
		  mvm_snapshot_info_compat(info, FACT_DATA_FILE),
		  (uint64_t)revision->rev.data_disk_mib << 20,
		  "data.ext4 is not the disk that was captured" },
		{ own_disks[OWN_DISK_ROOT].file, revision->disk_sha256[OWN_DISK_ROOT],
		  mvm_snapshot_info_compat(info, FACT_ROOT_FILE),
		  (uint64_t)revision->rev.root_disk_mib << 20,
		  "root.ext4 is not the disk that was captured" },
	};
	int r = mvm_snapshot_info_compat(info, FACT_OWN_IMAGE) ? check_own_image(q, err) : 0;
	for (size_t i = 0; r == 0 && i < MVM_ARRAY_SIZE(files); i++) {
		if (files[i].bytes) /* else there is no such disk */
			r = check_file(q, fd, &files[i], err);
	}
	return r;
}

/* Why a snapshot does not fit a machine with another root disk.  The facts would tell as well, but
 * by the list of all devices. */
static char *other_root_disk(uint32_t theirs_mib, uint32_t ours_mib)
{
	if (!theirs_mib)
		return str_printf("the snapshot was made without a root disk");
	return str_printf("the snapshot was made with a root disk of %" PRIu32
			  " MiB, not of %" PRIu32 " MiB",
			  theirs_mib, ours_mib);
}

static int consider_snapshot(const struct start_request *q, struct start_plan *plan,
			     struct mvm_error *err)
{
	const struct mvm_template_revision *rev = &q->revision->rev;
	const char *no = NULL;
	int r;

	if (rev->run.initrd == MVM_INITRD_IMAGE)
		no = "the image's own initrd has no agent, so no snapshot is possible";
	else if (!rev->has_snapshot)
		no = "the revision has no snapshot";
	else if (q->revision->snapshot_foreign)
		no = "the snapshot was made elsewhere, and no key that you trust has signed it";
	else if (!q->ops->caps.snapshots)
		no = "the backend cannot restore snapshots";
	else if (q->options->env && q->options->env[0] && !run_starts_in_clone(&rev->run) &&
		 !q->continues)
		no = "the snapshot's workload runs already, so it cannot take new variables";
	else if (q->options->no_workload && rev->run.snapshot_point != MVM_POINT_BOOT)
		no = "the snapshot's workload runs already, and none is wanted";
	if (no) {
		plan->reason = strdup(no);
		return plan->reason ? 0 : mvm_error_oom(err);
	}
	if (plan->disk_mib[OWN_DISK_ROOT] != rev->root_disk_mib) {
		plan->reason = other_root_disk(rev->root_disk_mib, plan->disk_mib[OWN_DISK_ROOT]);
		return plan->reason ? 0 : mvm_error_oom(err);
	}
	r = facts_compare(&rev->snapshot, &plan->facts, &plan->reason);
	if (r < 0)
		return mvm_error_oom(err);
	if (r == 0)
		return 0;
	r = check_files(q, err);
	if (r == -EBADMSG)
		return mvm_error_reason(err, r, "snapshot-damaged", q->revision->id);
	plan->restore = r == 0;
	return r;
}

/* A root disk that was written over the snapshot's own image fits no other, so a boot needs that
 * image, too. */
static int decide_image(const struct start_request *q, struct start_plan *plan,
			struct mvm_error *err)
{
	const struct mvm_snapshot_info *info = &q->revision->rev.snapshot;
	plan->own_image = plan->restore && mvm_snapshot_info_compat(info, FACT_OWN_IMAGE);
	if (plan->restore || !q->again || !q->again->own_image ||
	    !q->again->disks[OWN_DISK_ROOT].present)
		return 0;
	if (!mvm_snapshot_info_compat(info, FACT_OWN_IMAGE))
		return mvm_error_set(err, -ESTALE,
				     "its root disk fits only the root image of the snapshot that "
				     "it was restored from, which was taken anew since");
	plan->own_image = true;
	return check_own_image(q, err);
}

int start_decide(const struct start_request *q, struct start_plan *ret, struct mvm_error *err)
{
	const struct mvm_template_revision *rev = &q->revision->rev;
	const struct mvm_start_options *o = q->options;
	AUTO_DONE(start_plan) plan = {
		.vcpus = o->vcpus ? o->vcpus : rev->vcpus,
		.mem_mib = o->mem_mib ? o->mem_mib : rev->mem_mib,
	};

	disks_of(rev, plan.disk_mib);
	if (o->root_disk_mib)
		plan.disk_mib[OWN_DISK_ROOT] = o->root_disk_mib;
	int r = mvm_machine_check(plan.vcpus, plan.mem_mib, err);
	if (r == 0)
		r = host_memory_check(plan.mem_mib, err);
	if (r < 0)
		return r;
	struct vmm_config config = describe_config(q, &plan);
	r = q->ops->cmdline(q->probe, &config, rev->run.boot_args, &plan.cmdline, err);
	if (r < 0)
		return r;
	config.cmdline = plan.cmdline;
	const struct facts_input input = {
		.ops = q->ops,
		.probe = q->probe,
		.config = &config,
		.root_disk_mib = plan.disk_mib[OWN_DISK_ROOT],
		.artifacts = &q->revision->artifacts,
	};
	r = facts_gather(&input, &plan.facts, err);
	if (r == 0 && o->kind != MVM_START_COLD)
		r = consider_snapshot(q, &plan, err);
	if (r == 0)
		r = decide_image(q, &plan, err);
	if (r < 0)
		return r;
	*ret = plan;
	plan = (struct start_plan){ 0 };
	return 0;
}
