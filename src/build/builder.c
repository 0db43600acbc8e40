/* SPDX-License-Identifier: Apache-2.0 */
#include "build/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/own.h"
#include "base/str.h"
#include "build/committed.h"
#include "build/docker.h"
#include "build/oci.h"
#include "codec/sha256.h"
#include "image/image.h"

void build_lock_done(struct build_lock *l)
{
	free(l->attribute);
	*l = (struct build_lock){ 0 };
}

void build_product_done(struct build_product *p)
{
	mvm_run_done(&p->run);
	if (p->kernel_fd >= 0)
		close(p->kernel_fd);
	*p = (struct build_product)BUILD_PRODUCT_NONE;
}

int build_source_changed(const struct build_source *source, struct mvm_error *err)
{
	return mvm_error_set(err, -EBUSY, "'%s' changed while it was read", source->path);
}

static int cannot_open(const struct build_source *source, int code, struct mvm_error *err)
{
	int r = mvm_error_set(err, code, "cannot open the source '%s': %s", source->path,
			      code == -EINVAL ? "it is no regular file" : strerror(-code));
	return mvm_error_hint(err, r,
			      "check flake_ref; a relative path starts at the config's folder");
}

static int open_dir(const struct build_source *source, struct mvm_error *err)
{
	int fd = open(source->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? cannot_open(source, -errno, err) : fd;
}

static int open_tar(const struct build_source *source, struct mvm_error *err)
{
	int fd = file_open(source->path);
	return fd < 0 ? cannot_open(source, fd, err) : fd;
}

static int dir_lock(const struct build_source *source, struct build_lock *ret,
		    struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	AUTO_CLOSE int fd = open_dir(source, err);
	if (fd < 0)
		return fd;
	progress_begin(&step, source->progress, "reading %s", source->path);
	int r = image_lock_dir(fd, source->path, &step, &ret->lock, err);
	if (r == 0)
		progress_end(&step, NULL);
	return r;
}

static int dir_build(const struct build_source *source, const struct build_lock *lock, int out_fd,
		     int work_fd, struct build_product *ret, struct mvm_error *err)
{
	const struct image_options options = { .step = source->step };
	struct mvm_digest read;

	(void)work_fd;
	(void)ret; /* a folder has no command, kernel or initrd */
	AUTO_CLOSE int fd = open_dir(source, err);
	int r = fd < 0 ? fd : image_from_dir(fd, source->path, out_fd, &options, &read, err);
	if (r == 0 && !digest_equal(&read, &lock->lock))
		r = build_source_changed(source, err);
	return r;
}

static int digest_file(int fd, const char *path, struct progress_step *step, struct mvm_digest *ret,
		       struct mvm_error *err)
{
	int r = sha256_fd(fd, step, ret, NULL);
	return r < 0 ? mvm_error_set(err, r, "cannot read '%s': %s", path, strerror(-r)) : 0;
}

static int tar_lock(const struct build_source *source, struct build_lock *ret,
		    struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	AUTO_CLOSE int fd = open_tar(source, err);
	if (fd < 0)
		return fd;
	progress_begin(&step, source->progress, "reading %s", source->path);
	int r = digest_file(fd, source->path, &step, &ret->lock, err);
	if (r == 0)
		progress_end(&step, NULL);
	return r;
}

static int tar_build(const struct build_source *source, const struct build_lock *lock, int out_fd,
		     int work_fd, struct build_product *ret, struct mvm_error *err)
{
	const struct image_options options = { .step = source->step,
					       .max_bytes = source->max_image_bytes,
					       .ret_unpacked_bytes = &ret->unpacked_bytes };
	struct mvm_digest after;

	(void)work_fd;
	AUTO_CLOSE int fd = open_tar(source, err);
	if (fd < 0)
		return fd;
	int r = image_from_tar(fd, source->path, out_fd, &options, err);
	/* also after a failure: a tar that changes while it is read looks damaged */
	int digested = digest_file(fd, source->path, NULL, &after, r < 0 ? NULL : err);
	if (digested == 0 && !digest_equal(&lock->lock, &after))
		return build_source_changed(source, err);
	return r < 0 ? r : digested;
}

#define OCI_BUILDER(of)                                                                            \
	{                                                                                          \
		.name = "oci", .prefix = (of), .lock = oci_source_lock, .build = oci_source_build  \
	}

static const struct builder builders[] = {
	{ .name = "dir", .prefix = "dir:", .lock = dir_lock, .build = dir_build },
	{ .name = "tar", .prefix = "tar:", .lock = tar_lock, .build = tar_build },
	{ .name = "commit",
	  .prefix = COMMITTED_PREFIX,
	  .lock = committed_lock,
	  .build = committed_build },
	{ .name = "artifact",
	  .prefix = RECEIVED_PREFIX,
	  .lock = committed_lock,
	  .build = committed_build },
	OCI_BUILDER(OCI_PREFIX_LAYOUT),
	OCI_BUILDER(OCI_PREFIX_ARCHIVE),
	OCI_BUILDER(OCI_PREFIX_DOCKER),
	{ .name = "oci",
	  .prefix = DOCKER_PREFIX,
	  .lock = docker_lock,
	  .fetch = docker_fetch,
	  .build = docker_build },
};

int builder_refuse_remote(const char *flake_ref, struct mvm_error *err)
{
	/* as skopeo calls them */
	static const char *const places[] = { "docker-daemon:", "containers-storage:" };
	const char *place = NULL;

	if (str_starts(flake_ref, "docker:") && !str_starts(flake_ref, DOCKER_PREFIX))
		return mvm_error_set(err, -EINVAL,
				     "'%s' names no image: write docker://NAME:TAG, as in "
				     "docker://debian:12",
				     flake_ref);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(places); i++) {
		if (str_starts(flake_ref, places[i]))
			place = places[i];
	}
	if (!place)
		return 0;
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-/:@+,=[]";
	const char *image = flake_ref + strlen(place);
	image += strspn(image, "/");
	const char *slash = strrchr(image, '/'), *name = slash ? slash + 1 : image;
	int name_len = (int)strcspn(name, ":@");
	const char *tag = name[name_len] == ':' ? name + name_len + 1 : "latest";
	int tag_len = (int)strcspn(tag, "@");
	if (image[strspn(image, letters)] || name_len == 0 || tag_len == 0)
		return mvm_error_set(err, -EINVAL, "'%s' names no image: write %sNAME:TAG",
				     flake_ref, place);
	AUTO_FREE char *to = str_printf("oci:%.*s:%.*s", name_len, name, tag_len, tag);
	if (!to)
		return mvm_error_oom(err);
	return mvm_error_set(
		err, -EOPNOTSUPP,
		"mvm does not read other programs' storage: run 'skopeo copy %s%s %s' in the "
		"config's folder to get '%s', then set flake_ref = \"%s\"",
		place, image, to, flake_ref, to);
}

void builder_find(const char *flake_ref, const struct builder **ret, const char **ret_path)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(builders); i++) {
		if (!str_starts(flake_ref, builders[i].prefix))
			continue;
		*ret = &builders[i];
		*ret_path = flake_ref + strlen(builders[i].prefix);
		return;
	}
	*ret = &nix_builder;
	*ret_path = flake_ref;
}
