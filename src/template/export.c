/* SPDX-License-Identifier: Apache-2.0 */
/* A revision becomes a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/progress.h"
#include "template/artifact.h"

/* A file that appears under its name when it is whole. */
struct output {
	int dir_fd, fd;
	const char *name;
	char temporary[64];
};

static void output_done(struct output *o)
{
	if (o->temporary[0])
		unlinkat(o->dir_fd, o->temporary, 0);
	if (o->fd >= 0)
		close(o->fd);
	if (o->dir_fd >= 0)
		close(o->dir_fd);
}
DEFINE_AUTO_DONE(output, output_done)

static int output_failed(const char *path, int r, struct mvm_error *err)
{
	mvm_error_set(err, r, "cannot write '%s': %s", path, strerror(-r));
	return r == -ENOSPC || r == -EDQUOT
		       ? mvm_error_hint(err, r, "make room on its disk, or name a file on another")
		       : r;
}

static int exists(const char *path, struct mvm_error *err)
{
	int r = mvm_error_set(err, -EEXIST, "'%s' exists", path);
	return mvm_error_reason(err, r, "file-exists", path);
}

static int output_open(struct output *o, const char *path, bool force, mode_t mode,
		       struct mvm_error *err)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	struct stat st;
	uint64_t number;

	if (!dir)
		return mvm_error_oom(err);
	o->name = slash ? slash + 1 : path;
	o->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o->dir_fd < 0)
		return output_failed(path, -errno, err);
	if (fstatat(o->dir_fd, o->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (!force || !S_ISREG(st.st_mode)))
		return exists(path, err);
	random_bytes(&number, sizeof(number));
	snprintf(o->temporary, sizeof(o->temporary), ".mvm-export.%016llx",
		 (unsigned long long)number);
	o->fd = openat(o->dir_fd, o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		       mode & ~process_umask());
	return o->fd < 0 ? output_failed(path, -errno, err) : 0;
}

static int output_commit(struct output *o, const char *path, bool force, struct mvm_error *err)
{
	if (fsync(o->fd) < 0)
		return output_failed(path, -errno, err);
	if (renameat2(o->dir_fd, o->temporary, o->dir_fd, o->name, force ? 0 : RENAME_NOREPLACE) <
	    0)
		return errno == EEXIST ? exists(path, err) : output_failed(path, -errno, err);
	o->temporary[0] = '\0';
	int r = dir_sync(o->dir_fd);
	return r < 0 ? output_failed(path, r, err) : 0;
}

static int export(struct mvm *mvm, const char *ref, const char *path,
		  const struct mvm_export_options *options, const struct mvm_progress *progress,
		  struct mvm_artifact_result *result, struct mvm_error *err)
{
	AUTO_DONE(revision) rev = REVISION_NONE;
	AUTO_DONE(output) out = { .dir_fd = -1, .fd = -1 };
	struct layout_writer layout;
	const struct sign_with with = { options->key, options->sign_command };
	struct index_part manifest, signature;

	int r = revision_open(mvm, ref, &rev, err);
	if (r == 0 && options->key)
		r = artifact_may_sign(mvm->store, &with, &rev, options->image_only, err);
	/* a snapshot has all that its guest remembers */
	bool secret = rev.rev.has_snapshot && !options->image_only;
	if (r == 0)
		r = output_open(&out, path, options->force, secret ? 0600 : 0666, err);
	if (r < 0)
		return r;
	r = layout_begin(&layout, out.fd, err);
	const struct blob_sink sink = layout_sink(&layout);
	if (r == 0)
		r = artifact_make(mvm->store, &rev, options->image_only, &sink, progress, &manifest,
				  result, err);
	if (r == 0 && options->key)
		r = artifact_sign(mvm->store, &with, &manifest, &sink, progress, &signature, err);
	if (r == 0)
		r = layout_end(&layout, &manifest, options->tag ? options->tag : rev.id,
			       options->key ? &signature : NULL, err);
	if (r == 0)
		r = output_commit(&out, path, options->force, err);
	if (r == -ENOSPC || r == -EDQUOT) /* nothing else is written */
		return output_failed(path, r, err);
	if (r < 0)
		return r;
	snprintf(result->template_id, sizeof(result->template_id), "%s", rev.id);
	result->blob_bytes = layout.blob_bytes;
	return 0;
}

int mvm_template_export(struct mvm *mvm, const char *ref, const char *path,
			const struct mvm_export_options *options,
			const struct mvm_progress *progress, struct mvm_artifact_result *ret,
			struct mvm_error *err)
{
	struct mvm_artifact_result result = { 0 };
	struct mvm_export_options taken;
	struct progress_watch watch;

	int r = mvm_struct_take(&taken, sizeof(taken), STRUCT_END(struct mvm_export_options, key),
				options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = export(mvm, ref, path, &taken, progress, &result, err);
	if (r == 0)
		artifact_result_give(ret, &result);
	return r;
}
