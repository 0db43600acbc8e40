/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "instance/data_disk.h"
#include "model/load.h"
#include "store/revision.h"
#include "template/start.h"

#define CHECKSUMS_MAX ((size_t)1 << 20)

void revision_done(struct revision *r)
{
	free(r->id);
	free(r->hash);
	if (r->dir_fd >= 0)
		(void)close(r->dir_fd);
	if (r->lease_fd >= 0)
		(void)close(r->lease_fd);
	mvm_template_revision_done(&r->rev);
	strv_done(&r->artifacts);
	free(r->vmstate_sha256);
	free(r->mem_sha256);
	free(r->data_sha256);
	*r = (struct revision)REVISION_NONE;
}

/* The digest that checksums.json has for a file; a copy in *ret. */
static int checksum_of(const struct json_at *files, const char *name, enum json_presence presence,
		       char **ret, struct mvm_error *err)
{
	struct mvm_digest digest;
	int r = json_get_string(files, name, presence, ret, err);
	if (r > 0 && digest_parse(*ret, &digest) < 0)
		return json_error(files, name, err, "expected 64 hex digits");
	return r;
}

static int read_checksums(int dir_fd, struct revision *ret, struct mvm_error *err)
{
	static const char name[] = "checksums.json";
	const struct mvm_artifact_paths *paths = &ret->rev.artifact_paths;
	const struct {
		const char *what, *file;
	} artifacts[] = {
		{ "vmlinux", paths->vmlinux },
		{ "rootfs", paths->rootfs },
		{ "initrd", paths->initrd },
		{ "data_disk", ret->rev.data_disk_mib ? DATA_DISK_NAME : NULL },
	};
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, files;
	size_t len;

	int r = file_read_at(dir_fd, name, CHECKSUMS_MAX, &text, &len);
	if (r < 0)
		return mvm_error_set(err, r == -ENOENT ? -EBADMSG : r, "cannot read %s: %s", name,
				     strerror(-r));
	r = json_read(text, len, name, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, name, doc);
	r = json_get_object(&root, "files", JSON_REQUIRED, &files, err);
	for (size_t i = 0; r >= 0 && i < MVM_ARRAY_SIZE(artifacts); i++) {
		AUTO_FREE char *hex = NULL;
		if (!artifacts[i].file)
			continue;
		r = checksum_of(&files, artifacts[i].file, JSON_REQUIRED, &hex, err);
		if (r >= 0)
			strv_addf(&ret->artifacts, "%s=%s", artifacts[i].what, hex);
	}
	if (r >= 0)
		r = checksum_of(&files, "snapshot/vmstate.bin", JSON_OPTIONAL, &ret->vmstate_sha256,
				err);
	if (r >= 0)
		r = checksum_of(&files, "snapshot/mem.bin", JSON_OPTIONAL, &ret->mem_sha256, err);
	if (r >= 0)
		r = checksum_of(&files, "snapshot/" DATA_DISK_NAME, JSON_OPTIONAL,
				&ret->data_sha256, err);
	if (r >= 0 && ret->artifacts.failed)
		return mvm_error_oom(err);
	return r < 0 ? r : 0;
}

int revision_read(int dir_fd, const char *id, struct revision *ret, struct mvm_error *err)
{
	AUTO_DONE(revision) rev = REVISION_NONE;
	int r = revision_load_at(dir_fd, &rev.rev, err);
	if (r == 0)
		r = read_checksums(dir_fd, &rev, err);
	if (r < 0)
		return r;
	rev.dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	if (rev.dir_fd < 0)
		return mvm_error_set(err, -errno, "cannot open the revision: %s", strerror(errno));
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
	return r < 0 ? mvm_error_context(err, r, "template '%s', revision %.12s", id, hash) : 0;
}

int revision_open(struct mvm *mvm, const char *ref, struct revision *ret, struct mvm_error *err)
{
	char id[STORE_ID_SIZE], hash[STORE_REVISION_SIZE];
	AUTO_CLOSE int lease_fd = -1;

	int r = store_template_resolve(mvm->store, ref, id, hash, err);
	if (r < 0)
		return r;
	lease_fd = store_lease_revision(mvm->store, id, hash); /* first: see store.h */
	if (lease_fd < 0)
		return mvm_error_set(err, lease_fd, "cannot take a lease on %s@%s: %s", id, hash,
				     strerror(-lease_fd));
	r = revision_look(mvm, id, hash, ret, err);
	if (r < 0)
		return r;
	ret->lease_fd = TAKE_FD(lease_fd);
	return 0;
}
