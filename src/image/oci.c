/* SPDX-License-Identifier: Apache-2.0 */
#include "image/oci.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/sha256.h"
#include "image/image.h"
#include "image/layer.h"
#include "image/oci_choose.h"
#include "image/oci_files.h"
#include "image/oci_resolve.h"

#define LAYOUT_MAX     4096u
#define PATH_BYTES_MAX 4095u

/* One layer, found and open. */
struct layer {
	struct oci_file file;
	struct stat opened;	  /* of the file, when it was opened */
	char *name;		  /* its path, for messages */
	struct mvm_digest digest; /* of the stored bytes, compressed or not */
	bool has_digest;	  /* docker-archives have digests of unpacked layers only */
};

struct oci_image {
	struct oci_files files;
	struct mvm_digest lock;
	struct oci_config config;
	struct layer *layers; /* config.n of them */
};

void oci_free(struct oci_image *image)
{
	if (!image)
		return;
	for (size_t i = 0; image->layers && i < image->config.n; i++) {
		oci_file_close(&image->files, &image->layers[i].file);
		free(image->layers[i].name);
	}
	free(image->layers);
	oci_config_done(&image->config);
	oci_files_done(&image->files);
	free(image);
}

const struct mvm_digest *oci_lock(const struct oci_image *image)
{
	return &image->lock;
}

const struct oci_config *oci_config(const struct oci_image *image)
{
	return &image->config;
}

static int wrong_digest(const struct oci_image *image, const char *name, struct mvm_error *err)
{
	return mvm_error_set(err, -EBADMSG, "'%s' is damaged: the digest of '%s' does not match",
			     image->files.path, name);
}

/* What the error r about a file means that the image itself names. */
static int of_part(const struct oci_image *image, const char *name, int r, struct mvm_error *err)
{
	if (r != -ENOENT)
		return r;
	return mvm_error_set(err, -EBADMSG, "'%s' is damaged: its '%s' is missing",
			     image->files.path, name);
}

/* Read a blob and check it against its descriptor. */
static int read_blob(void *arg, const struct oci_descriptor *d, char ret_name[OCI_NAME_SIZE],
		     char **ret, size_t *ret_len, struct mvm_error *err)
{
	const struct oci_image *image = arg;
	AUTO_FREE char *text = NULL;
	struct mvm_digest digest;

	oci_blob_name(&d->digest, ret_name);
	int r = oci_file_read(&image->files, ret_name, OCI_JSON_MAX, &text, ret_len, err);
	if (r < 0)
		return of_part(image, ret_name, r, err);
	sha256_buf(text, *ret_len, &digest);
	if (*ret_len != d->size || !digest_equal(&digest, &d->digest))
		return wrong_digest(image, ret_name, err);
	*ret = TAKE_PTR(text);
	return 0;
}

static int check_config(const struct oci_image *image, const struct oci_platform *platform,
			size_t n_layers, struct mvm_error *err)
{
	const struct oci_config *c = &image->config;

	if (!oci_platform_fits(platform, c->os, c->arch))
		return mvm_error_set(err, -EINVAL, "'%s' is an image for %.50s/%.50s, not linux/%s",
				     image->files.path, c->os ? c->os : "?",
				     c->arch ? c->arch : "?", platform->arch);
	if (c->n != n_layers)
		return mvm_error_set(err, -EBADMSG,
				     "'%s' is damaged: it has %zu layers and digests for %zu",
				     image->files.path, n_layers, c->n);
	return 0;
}

static int alloc_layers(struct oci_image *image, struct mvm_error *err)
{
	size_t n = image->config.n;

	image->layers = calloc(n ? n : 1, sizeof(*image->layers));
	if (!image->layers)
		return mvm_error_oom(err);
	for (size_t i = 0; i < n; i++)
		image->layers[i].file.fd = -1;
	return 0;
}

static int open_layer(struct oci_image *image, struct layer *layer, const char *name,
		      struct mvm_error *err)
{
	layer->name = str_printf("%s/%s", image->files.path, name);
	if (!layer->name)
		return mvm_error_oom(err);
	int r = of_part(image, name, oci_file_open(&image->files, name, &layer->file, err), err);
	if (r == 0 && fstat(layer->file.fd, &layer->opened) < 0)
		r = mvm_error_set(err, -errno, "cannot read '%s': %s", layer->name,
				  strerror(errno));
	return r;
}

/* ---- OCI layouts ---- */

static int read_manifest(struct oci_image *image, const struct oci_descriptor *d,
			 const struct oci_platform *platform, struct mvm_error *err)
{
	AUTO_DONE(oci_manifest) m = { 0 };
	AUTO_FREE char *text = NULL, *config = NULL;
	char name[OCI_NAME_SIZE];
	size_t len;

	int r = read_blob(image, d, name, &text, &len, err);
	if (r == 0)
		r = oci_manifest_parse(text, len, name, &m, err);
	if (r == 0)
		r = read_blob(image, &m.config, name, &config, &len, err);
	if (r == 0)
		r = oci_config_parse(config, len, name, &image->config, err);
	if (r == 0)
		r = check_config(image, platform, m.n, err);
	if (r == 0)
		r = alloc_layers(image, err);
	for (size_t i = 0; r == 0 && i < m.n; i++) {
		struct layer *layer = &image->layers[i];
		oci_blob_name(&m.layers[i].digest, name);
		layer->digest = m.layers[i].digest;
		layer->has_digest = true;
		r = open_layer(image, layer, name, err);
		if (r == 0 && layer->file.size != m.layers[i].size)
			r = wrong_digest(image, name, err);
	}
	image->lock = d->digest;
	return r;
}

static int open_layout(struct oci_image *image, const char *tag,
		       const struct oci_platform *platform, struct mvm_error *err)
{
	struct oci_reader reader = { .read = read_blob, .arg = image, .path = image->files.path };
	AUTO_DONE(oci_index) index = { 0 };
	AUTO_FREE char *layout = NULL, *text = NULL;
	struct oci_descriptor found;
	size_t len;

	int r = oci_file_read(&image->files, "oci-layout", LAYOUT_MAX, &layout, &len, err);
	if (r == -ENOENT)
		return mvm_error_set(err, -EINVAL, "'%s' is no OCI image: it has no oci-layout",
				     image->files.path);
	if (r == 0 && !strstr(layout, "\"1."))
		return mvm_error_set(err, -EOPNOTSUPP,
				     "'%s': its OCI image layout is not version 1",
				     image->files.path);
	if (r == 0)
		r = oci_file_read(&image->files, "index.json", OCI_JSON_MAX, &text, &len, err);
	if (r == 0)
		r = oci_index_parse(text, len, "index.json", &index, err);
	if (r == 0 && !tag && oci_choose_all(&index) > 1)
		/* finds entries that are no images */
		r = oci_learn_platforms(&reader, &index, err);
	if (r == 0)
		r = oci_choose_name(&index, tag, image->files.path, err);
	if (r > 1 && tag)
		r = oci_learn_platforms(&reader, &index, err);
	if (r >= 0)
		r = oci_resolve(&reader, &index, platform, false, &found, err);
	return r < 0 ? r : read_manifest(image, &found, platform, err);
}

/* ---- docker save ---- */

/* Get the digest in a file's name: "<hex>.json", "blobs/sha256/<hex>".  False: it has none. */
static bool digest_in_name(const char *name, struct mvm_digest *ret)
{
	const char *base = strrchr(name, '/');
	char hex[DIGEST_HEX_SIZE];

	base = base ? base + 1 : name;
	snprintf(hex, sizeof(hex), "%s", base); /* an ending like ".json" may follow */
	return digest_parse(hex, ret) == 0;
}

static int read_saved(struct oci_image *image, const struct oci_saved *saved,
		      const struct oci_platform *platform, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	struct mvm_digest named;
	size_t len;

	int r = oci_file_read(&image->files, saved->config, OCI_JSON_MAX, &text, &len, err);
	if (r < 0)
		return of_part(image, saved->config, r, err);
	sha256_buf(text, len, &image->lock);
	if (digest_in_name(saved->config, &named) && !digest_equal(&named, &image->lock))
		return wrong_digest(image, saved->config, err);
	r = oci_config_parse(text, len, saved->config, &image->config, err);
	if (r == 0)
		r = check_config(image, platform, saved->layers.n, err);
	if (r == 0)
		r = alloc_layers(image, err);
	for (size_t i = 0; r == 0 && i < saved->layers.n; i++)
		r = open_layer(image, &image->layers[i], saved->layers.v[i], err);
	return r;
}

static int open_saved(struct oci_image *image, const char *tag, const struct oci_platform *platform,
		      struct mvm_error *err)
{
	AUTO_DONE(oci_saved_list) list = { 0 };
	AUTO_FREE char *text = NULL;
	const struct oci_saved *saved = NULL;
	size_t len;

	int r = oci_file_read(&image->files, "manifest.json", OCI_JSON_MAX, &text, &len, err);
	if (r == -ENOENT)
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no docker-archive: it has no manifest.json",
				     image->files.path);
	if (r == 0)
		r = oci_saved_parse(text, len, "manifest.json", &list, err);
	if (r == 0)
		r = oci_choose_saved(&list, tag, image->files.path, &saved, err);
	if (r < 0)
		return r;
	assert(saved);
	return read_saved(image, saved, platform, err);
}

/* ---- all kinds ---- */

/* Split a source into path and tag.  A path may contain colons, so the longest existing path wins.
 * If none exists, the path ends at the last colon, unless a slash follows that. */
static void split(char *source, const char **ret_tag)
{
	*ret_tag = NULL;
	if (access(source, F_OK) == 0)
		return;
	for (char *at = source + strlen(source); at > source; at--) {
		if (*at != ':')
			continue;
		*at = '\0';
		bool there = access(source, F_OK) == 0;
		*at = ':';
		if (!there)
			continue;
		*at = '\0';
		*ret_tag = at + 1;
		return;
	}
	char *colon = strrchr(source, ':');
	if (colon && !strchr(colon, '/')) {
		*colon = '\0';
		*ret_tag = colon + 1;
	}
}

int oci_open(enum oci_kind kind, const char *source, const char *arch, struct oci_image **ret,
	     struct mvm_error *err)
{
	AUTO(oci_image) image = calloc(1, sizeof(*image));
	AUTO_FREE char *path = strdup(source);
	const char *tag;

	if (image)
		image->files = (struct oci_files)OCI_FILES_NONE;
	if (!image || !path)
		return mvm_error_oom(err);
	const struct oci_platform platform = oci_platform_here(arch);
	split(path, &tag);
	if (tag && !*tag)
		return mvm_error_set(err, -EINVAL, "'%s' ends in an empty tag", source);
	int r = oci_files_open(path, kind != OCI_LAYOUT, &image->files, err);
	if (r == 0)
		r = kind == OCI_DOCKER_ARCHIVE ? open_saved(image, tag, &platform, err)
					       : open_layout(image, tag, &platform, err);
	if (r == 0)
		*ret = TAKE_PTR(image);
	return r;
}

int oci_open_blobs(int dir_fd, const char *name, const struct mvm_digest *manifest,
		   struct oci_image **ret, struct mvm_error *err)
{
	const struct oci_platform platform = oci_platform_here(NULL);
	struct oci_descriptor d = { .digest = *manifest };
	char manifest_name[OCI_NAME_SIZE];
	struct stat st;
	AUTO(oci_image) image = calloc(1, sizeof(*image));

	if (!image)
		return mvm_error_oom(err);
	image->files = (struct oci_files)OCI_FILES_NONE;
	image->files.path = strdup(name);
	image->files.fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	if (!image->files.path)
		return mvm_error_oom(err);
	if (image->files.fd < 0)
		return mvm_error_set(err, -errno, "cannot open '%s': %s", name, strerror(errno));
	oci_blob_name(manifest, manifest_name);
	if (fstatat(dir_fd, manifest_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		d.size = (uint64_t)st.st_size; /* the digest says whether it is the right file */
	int r = read_manifest(image, &d, &platform, err);
	if (r == 0)
		*ret = TAKE_PTR(image);
	return r;
}

static int check_layers(const struct oci_image *image, struct mvm_error *err)
{
	struct mvm_digest digest;

	for (size_t i = 0; i < image->config.n; i++) {
		const struct layer *layer = &image->layers[i];
		if (!layer->has_digest)
			continue; /* layer_stream_finish() checks the unpacked layer */
		int r = oci_file_digest(&image->files, &layer->file, layer->name, &digest, err);
		if (r < 0)
			return r;
		if (!digest_equal(&digest, &layer->digest))
			return mvm_error_set(err, -EBADMSG,
					     "'%s' is damaged: its digest does not match",
					     layer->name);
	}
	return 0;
}

/* Has the layer's file changed since we opened it? */
static bool has_changed(const struct layer *layer)
{
	struct stat st;

	return fstat(layer->file.fd, &st) == 0 &&
	       (st.st_size != layer->opened.st_size ||
		st.st_mtim.tv_sec != layer->opened.st_mtim.tv_sec ||
		st.st_mtim.tv_nsec != layer->opened.st_mtim.tv_nsec);
}

/* A layer that changes while we read it looks damaged or truncated: report the change instead. */
static int explain(const struct oci_image *image, int r, struct mvm_error *err)
{
	for (size_t i = 0; i < image->config.n; i++) {
		if (has_changed(&image->layers[i]))
			return mvm_error_set(err, -EBUSY, "'%s' changed while it was read",
					     image->layers[i].name);
	}
	return r;
}

/* Create the working folder if no layer has it, as container tools do.  If its path goes through a
 * link, the guest creates it; if it goes through a file, the guest refuses it. */
static int make_workdir(struct tree *t, const char *path, int64_t mtime, struct mvm_error *err)
{
	struct tree_node *n = t->root;
	char name[TREE_NAME_MAX + 1];
	bool made = false;

	for (; *(path += strspn(path, "/")); path += strlen(name)) {
		size_t len = strcspn(path, "/");
		if (len > TREE_NAME_MAX)
			return mvm_error_set(err, -ENAMETOOLONG,
					     "it has a name of more than %u bytes", TREE_NAME_MAX);
		memcpy(name, path, len);
		name[len] = '\0';
		if (str_eq(name, "."))
			continue;
		if (str_eq(name, "..") || n->inode->type != TREE_FOLDER)
			break;
		struct tree_node *child = tree_child(n, name);
		if (!child) {
			int r = tree_add(t, n, name, TREE_FOLDER, NULL, &child, err);
			if (r < 0)
				return r;
			child->inode->mode = 0755;
			child->inode->mtime = mtime;
			made = true;
		}
		n = child;
	}
	return made ? tree_seal(t, err) : 0;
}

int oci_write_image(const struct oci_image *image, int out_fd, const struct image_options *options,
		    struct mvm_error *err)
{
	const struct layer_limits limits = { .unpacked_bytes = options ? options->max_bytes : 0 };
	struct ext4_options to = { 0 };
	AUTO(tree) t = NULL;
	size_t n = image->config.n;

	AUTO_FREE struct layer_source *layers = calloc(n ? n : 1, sizeof(*layers));
	if (!layers)
		return mvm_error_oom(err);
	for (size_t i = 0; i < n; i++)
		layers[i] = (struct layer_source){
			.fd = image->layers[i].file.fd,
			.offset = image->layers[i].file.offset,
			.size = image->layers[i].file.size,
			.name = image->layers[i].name,
			.diff_id = image->config.diff_ids[i],
		};
	if (options) {
		to.size_bytes = options->size_bytes;
		to.step = options->step;
	}
	int r = image_epoch(&to.now, err);
	if (r == 0)
		r = check_layers(image, err);
	if (r == 0)
		r = layers_scan(layers, n, to.now, &limits, &t, err);
	if (r == 0 && options && options->ret_unpacked_bytes)
		*options->ret_unpacked_bytes = t->unpacked_bytes;
	if (r == 0 && image->config.workdir) {
		r = make_workdir(t, image->config.workdir, to.now, err);
		if (r < 0)
			mvm_error_context(err, r, "'%s': WorkingDir", image->files.path);
	}
	if (r == 0)
		r = layers_write_image(layers, n, &limits, t, image->files.path, out_fd, &to, err);
	return r < 0 ? explain(image, r, err) : r;
}
