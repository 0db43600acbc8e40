/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "codec/sha256.h"
#include "instance/own_disk.h"
#include "model/load.h"
#include "model/run.h"
#include "start/start.h"
#include "store/keys.h"
#include "store/revision.h"
#include "store/trust.h"

void revision_done(struct revision *r)
{
	free(r->id);
	free(r->hash);
	if (r->dir_fd >= 0)
		close(r->dir_fd);
	if (r->lease_fd >= 0)
		close(r->lease_fd);
	if (r->source_fd >= 0)
		close(r->source_fd);
	mvm_template_revision_done(&r->rev);
	checksums_done(&r->sums);
	strv_done(&r->artifacts);
	free(r->vmstate_sha256);
	free(r->mem_sha256);
	for (size_t i = 0; i < OWN_DISKS; i++)
		free(r->disk_sha256[i]);
	*r = (struct revision)REVISION_NONE;
}

/* Get the recorded digest of a file; *ret is unchanged without one. */
static void checksum_of(const struct checksums *sums, const char *file, char **ret, bool *failed)
{
	const struct mvm_digest *digest = checksums_find(sums, file);
	char hex[DIGEST_HEX_SIZE];

	if (!digest)
		return;
	digest_hex(digest, hex);
	*ret = str_dup(hex, failed);
}

/* Check that the file exists.  revision_trust() checks its contents. */
static int check_artifact(int dir_fd, const char *file, struct mvm_error *err)
{
	struct stat st;
	if (fstatat(dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		return 0;
	return mvm_error_set(err, -EBADMSG, "its file '%s' is missing", file);
}

static int read_checksums(int dir_fd, struct revision *ret, struct mvm_error *err)
{
	const struct mvm_artifact_paths *paths = &ret->rev.artifact_paths;
	const struct {
		const char *what, *file;
	} artifacts[] = {
		{ "vmlinux", paths->vmlinux },
		{ "rootfs", paths->rootfs },
		{ "initrd", paths->initrd },
		{ "data_disk", ret->rev.data_disk_mib ? own_disks[OWN_DISK_DATA].file : NULL },
	};
	bool failed = false;

	int r = store_checksums_read(dir_fd, &ret->sums, err);
	if (r == -ENOENT) /* other programs' revisions may lack it; mvm runs only checked files */
		r = mvm_error_set(err, -EBADMSG,
				  "checksums.json is missing: its files cannot be checked");
	if (r == 0)
		r = store_checksums_hold_revision(dir_fd, &ret->sums, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(artifacts); i++) {
		AUTO_FREE char *hex = NULL;
		if (!artifacts[i].file)
			continue;
		checksum_of(&ret->sums, artifacts[i].file, &hex, &failed);
		if (!hex && !failed)
			return mvm_error_set(err, -EBADMSG, "'%s' is not in checksums.json",
					     artifacts[i].file);
		r = check_artifact(dir_fd, artifacts[i].file, err);
		if (r < 0)
			return r;
		strv_addf(&ret->artifacts, "%s=%s", artifacts[i].what, hex);
	}
	checksum_of(&ret->sums, "snapshot/vmstate.bin", &ret->vmstate_sha256, &failed);
	checksum_of(&ret->sums, "snapshot/mem.bin", &ret->mem_sha256, &failed);
	for (size_t i = 0; i < OWN_DISKS; i++)
		checksum_of(&ret->sums, own_disks[i].captured, &ret->disk_sha256[i], &failed);
	return failed || ret->artifacts.failed ? mvm_error_oom(err) : 0;
}

int revision_read(int dir_fd, const char *id, struct revision *ret, struct mvm_error *err)
{
	AUTO_DONE(revision) rev = REVISION_NONE;
	int r = revision_load_at(dir_fd, &rev.rev, err);
	if (r == 0)
		r = read_checksums(dir_fd, &rev, err);
	if (r == -EBADMSG)
		return mvm_error_reason(err, r, "revision-damaged", id);
	if (r < 0)
		return r;
	rev.dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	if (rev.dir_fd < 0)
		return mvm_error_set(err, -errno, "cannot open the revision: %s", strerror(errno));
	rev.snapshot_foreign = rev.rev.has_snapshot && rev.rev.snapshot.origin;
	rev.id = strdup(id);
	rev.hash = strdup(rev.rev.revision_hash);
	if (!rev.id || !rev.hash)
		return mvm_error_oom(err);
	*ret = rev;
	rev = (struct revision)REVISION_NONE;
	return 0;
}

int revision_look(struct mvm *mvm, const char *id, const char *hash, struct revision *ret,
		  struct mvm_error *err)
{
	AUTO_CLOSE int dir_fd = store_revision_open(mvm->store, id, hash, err);
	int r = dir_fd < 0 ? dir_fd : revision_read(dir_fd, id, ret, err);
	if (r == 0 && ret->snapshot_foreign)
		ret->snapshot_foreign = !keys_are_trusted(mvm->store, ret->rev.snapshot.signed_by);
	return r < 0 ? mvm_error_context(err, r, "template '%s', revision %.12s", id, hash) : 0;
}

int revision_trust(struct mvm *mvm, const struct revision *revision, bool all,
		   const struct mvm_progress *progress, struct mvm_error *err)
{
	if (revision->source_fd >= 0)
		return 0; /* each part is compared before anybody sees it */
	const struct trust how = {
		.store = mvm->store,
		.progress = progress,
		.id = revision->id,
		.all = all,
	};
	int r = store_trust(revision->dir_fd, &revision->sums, &how, err);
	if (r == -EBADMSG)
		r = mvm_error_reason(err, r, "revision-damaged", revision->id);
	return r < 0 ? mvm_error_context(err, r, "template '%s', revision %.12s", revision->id,
					 revision->hash)
		     : 0;
}

int need_agent(const struct mvm_run *run, struct mvm_error *err)
{
	if (run->initrd != MVM_INITRD_IMAGE)
		return 0;
	int r = mvm_error_set(err, -EOPNOTSUPP, "it " RUN_NO_AGENT);
	return mvm_error_hint(err, r, "set initrd = \"mvm\", the default, to have an agent");
}

static int no_lease(const struct mvm *mvm, const char *id, const char *hash, int code,
		    struct mvm_error *err)
{
	mvm_error_set(err, code, "cannot take a lease on %s@%s: %s", id, hash, strerror(-code));
	return store_mend(mvm->store, code, err);
}

int revision_arrives(struct mvm *mvm, const char *id, const char *hash, int dir_fd, int source_fd,
		     struct mvm_error *err)
{
	AUTO_CLOSE int dir = dir_fd, source = source_fd;
	AUTO_FREE struct arriving *a = calloc(1, sizeof(*a));

	if (!a)
		return mvm_error_oom(err);
	snprintf(a->id, sizeof(a->id), "%s", id);
	snprintf(a->hash, sizeof(a->hash), "%s", hash);
	a->lease_fd = store_lease_revision(mvm->store, id, hash);
	if (a->lease_fd < 0)
		return no_lease(mvm, id, hash, a->lease_fd, err);
	a->dir_fd = TAKE_FD(dir);
	a->source_fd = TAKE_FD(source);
	mvm->arriving = TAKE_PTR(a);
	return 0;
}

/* Is this the revision that is still being pulled? */
static bool is_arriving(const struct mvm *mvm, const char *ref)
{
	const struct arriving *a = mvm->arriving;
	const size_t len = a ? strlen(a->id) : 0;

	return a && strncmp(ref, a->id, len) == 0 && ref[len] == '@' &&
	       str_eq(ref + len + 1, a->hash);
}

static int open_arriving(struct mvm *mvm, struct revision *ret, struct mvm_error *err)
{
	const struct arriving *a = mvm->arriving;

	int r = revision_read(a->dir_fd, a->id, ret, err);
	if (r < 0)
		return mvm_error_context(err, r, "template '%s', revision %.12s", a->id, a->hash);
	if (ret->snapshot_foreign)
		ret->snapshot_foreign = !keys_are_trusted(mvm->store, ret->rev.snapshot.signed_by);
	ret->lease_fd = fcntl(a->lease_fd, F_DUPFD_CLOEXEC, 0);
	ret->source_fd = fcntl(a->source_fd, F_DUPFD_CLOEXEC, 0);
	return ret->lease_fd < 0 || ret->source_fd < 0
		       ? mvm_error_set(err, -errno, "cannot open the revision: %s", strerror(errno))
		       : 0;
}

int revision_open(struct mvm *mvm, const char *ref, struct revision *ret, struct mvm_error *err)
{
	char id[MVM_TEMPLATE_ID_SIZE], hash[MVM_REVISION_SIZE];
	AUTO_CLOSE int lease_fd = -1;

	if (is_arriving(mvm, ref))
		return open_arriving(mvm, ret, err);
	int r = store_template_resolve(mvm->store, ref, id, hash, err);
	if (r < 0)
		return r;
	lease_fd = store_lease_revision(mvm->store, id, hash); /* before the open: see store.h */
	if (lease_fd == -EROFS)
		return store_not_writable(mvm->store, lease_fd, err);
	if (lease_fd < 0)
		return no_lease(mvm, id, hash, lease_fd, err);
	r = revision_look(mvm, id, hash, ret, err);
	if (r < 0)
		return r;
	ret->lease_fd = TAKE_FD(lease_fd);
	return 0;
}
