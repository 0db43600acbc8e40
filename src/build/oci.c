/* SPDX-License-Identifier: Apache-2.0 */
#include "build/oci.h"

#include <errno.h>
#include <string.h>

#include "codec/sha256.h"
#include "image/oci.h"
#include "model/strings.h"

static enum oci_kind kind_of(const struct build_source *source)
{
	if (str_starts(source->flake_ref, OCI_PREFIX_ARCHIVE))
		return OCI_ARCHIVE;
	return str_starts(source->flake_ref, OCI_PREFIX_DOCKER) ? OCI_DOCKER_ARCHIVE : OCI_LAYOUT;
}

int oci_source_lock(const struct build_source *source, struct build_lock *ret,
		    struct mvm_error *err)
{
	AUTO(oci_image) image = NULL;

	int r = oci_open(kind_of(source), source->path, NULL, &image, err);
	if (r == 0)
		ret->lock = *oci_lock(image);
	return r;
}

static int copy_words(const struct strv *from, struct mvm_strings *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) copy = { 0 };

	if (!from->n)
		return 0;
	for (size_t i = 0; i < from->n; i++)
		strv_add(&copy, from->v[i]);
	return strings_take(&copy, ret) < 0 ? mvm_error_oom(err) : 0;
}

static void tell_notes(const struct build_source *source, const struct oci_config *c)
{
	for (size_t i = 0; i < c->notes.n; i++)
		progress_note(source->progress, "%s: %s", source->template_id, c->notes.v[i]);
}

static int copy_run(const struct oci_config *from, struct mvm_run *ret, struct mvm_error *err)
{
	bool failed = false;

	int r = copy_words(&from->command, &ret->command, err);
	if (r == 0)
		r = copy_words(&from->env, &ret->env, err);
	if (r < 0)
		return r;
	ret->workdir = str_dup(from->workdir, &failed);
	ret->user = str_dup(from->user, &failed);
	ret->stop_signal = from->stop_signal;
	return failed ? mvm_error_oom(err) : 0;
}

int oci_image_build(const struct build_source *source, const struct oci_image *image, int out_fd,
		    struct build_product *ret, struct mvm_error *err)
{
	const struct image_options options = { .step = source->step,
					       .max_bytes = source->max_image_bytes,
					       .ret_unpacked_bytes = &ret->unpacked_bytes };
	int r = oci_write_image(image, out_fd, &options, err);
	if (r < 0)
		return r;
	tell_notes(source, oci_config(image));
	return copy_run(oci_config(image), &ret->run, err);
}

int oci_source_build(const struct build_source *source, const struct build_lock *lock, int out_fd,
		     int work_fd, struct build_product *ret, struct mvm_error *err)
{
	AUTO(oci_image) image = NULL;

	(void)work_fd; /* nothing is unpacked */
	int r = oci_open(kind_of(source), source->path, NULL, &image, err);
	if (r < 0)
		return r;
	if (!digest_equal(oci_lock(image), &lock->lock))
		return build_source_changed(source, err);
	return oci_image_build(source, image, out_fd, ret, err);
}
