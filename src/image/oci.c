/* SPDX-License-Identifier: Apache-2.0 */
#include "image/oci.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/sha256.h"
#include "image/image.h"
#include "image/layer.h"
#include "image/oci_choose.h"
#include "image/oci_cpu.h"
#include "image/oci_files.h"

#define NAME_SIZE      128u /* "blobs/sha256/<hex>" */
#define INDEX_DEPTH    4u
#define LAYOUT_MAX     4096u
#define PATH_BYTES_MAX 4095u
#define ASKED_MAX      (64ULL << 20) /* bytes of documents */

/* This machine's architecture, by its name in Go. */
static const char *host_arch(void)
{
#if defined(__x86_64__)
	return "amd64";
#elif defined(__aarch64__)
	return "arm64";
#else
#error "name this architecture as Go does"
#endif
}

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
	uint64_t asked_bytes; /* bytes read so far by read_to_ask() */
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

static void blob_name(const struct mvm_digest *digest, char ret[NAME_SIZE])
{
	char hex[DIGEST_HEX_SIZE];
	digest_hex(digest, hex);
	snprintf(ret, NAME_SIZE, "blobs/sha256/%s", hex);
}

static int wrong_digest(const struct oci_image *image, const char *name, struct mvm_error *err)
{
	return mvm_error_set(err, -EBADMSG, "'%s' is damaged: the digest of '%s' does not match",
			     image->files.path, name);
}

/* Read a blob and check it against its descriptor. */
static int read_blob(const struct oci_image *image, const struct oci_descriptor *d,
		     char ret_name[NAME_SIZE], char **ret, size_t *ret_len, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	struct mvm_digest digest;

	blob_name(&d->digest, ret_name);
	int r = oci_file_read(&image->files, ret_name, OCI_JSON_MAX, &text, ret_len, err);
	if (r < 0)
		return r;
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
	int r = oci_file_open(&image->files, name, &layer->file, err);
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
	char name[NAME_SIZE];
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
		blob_name(&m.layers[i].digest, name);
		layer->digest = m.layers[i].digest;
		layer->has_digest = true;
		r = open_layer(image, layer, name, err);
		if (r == 0 && layer->file.size != m.layers[i].size)
			r = wrong_digest(image, name, err);
	}
	image->lock = d->digest;
	return r;
}

/* Read a document that only tells which image is the right one. */
static int read_to_ask(struct oci_image *image, const struct oci_descriptor *d,
		       char ret_name[NAME_SIZE], char **ret, size_t *ret_len)
{
	*ret_len = 0;
	int r = read_blob(image, d, ret_name, ret, ret_len, NULL);
	image->asked_bytes += *ret_len; /* damaged documents count, too */
	return r;
}

/* An entry does not tell its platform: read it from the image's configuration.  A platform that
 * cannot be read stays unknown, and is an error only if the entry is chosen. */
static int ask(struct oci_image *image, struct oci_descriptor *d, struct oci_config *ret,
	       struct mvm_error *err)
{
	AUTO_DONE(oci_manifest) m = { 0 };
	AUTO_FREE char *text = NULL, *config = NULL;
	struct mvm_error problem = { 0 };
	char name[NAME_SIZE];
	size_t len;

	if (image->asked_bytes > ASKED_MAX) {
		int r = mvm_error_set(
			err, -EFBIG,
			"'%s': the manifests and configurations of its images take more than "
			"%llu MiB",
			image->files.path, ASKED_MAX >> 20);
		return mvm_error_hint(
			err, r,
			"name the image: append ':sha256:DIGEST' of its manifest to the path");
	}
	if (read_to_ask(image, d, name, &text, &len) < 0)
		return 0;
	d->problem_code = oci_manifest_parse(text, len, name, &m, &problem);
	if (d->problem_code < 0) { /* perhaps an artifact, which is no image */
		d->problem = strdup(problem.text);
		return d->problem ? 0 : mvm_error_oom(err);
	}
	if (read_to_ask(image, &m.config, name, &config, &len) == 0)
		oci_config_parse(config, len, name, ret, NULL); /* on failure it stays unknown */
	return 0;
}

/* Fill in an unknown text. */
static int learn(char **text, const char *from, struct mvm_error *err)
{
	if (*text || !from)
		return 0;
	*text = strdup(from);
	return *text ? 0 : mvm_error_oom(err);
}

/* Give an entry the platform or problem found for another entry with its digest. */
static int tell(struct oci_descriptor *d, const struct oci_descriptor *asked,
		const struct oci_config *config, struct mvm_error *err)
{
	d->asked = true;
	d->problem_code = asked->problem_code;
	int r = learn(&d->problem, asked->problem, err);
	if (r == 0)
		r = learn(&d->os, config->os, err);
	if (r == 0)
		r = learn(&d->arch, config->arch, err);
	return r < 0 ? r : learn(&d->variant, config->variant, err);
}

static bool is_unknown(const struct oci_descriptor *d)
{
	return d->meant && !d->asked && !d->problem && d->media == OCI_MEDIA_MANIFEST &&
	       (!d->os || !d->arch);
}

/* Read each manifest once, however many entries name it. */
static int learn_platforms(struct oci_image *image, struct oci_index *index, struct mvm_error *err)
{
	for (size_t i = 0; i < index->n; i++) {
		AUTO_DONE(oci_config) config = { 0 };
		struct oci_descriptor *d = &index->manifests[i];
		if (!is_unknown(d))
			continue;
		int r = ask(image, d, &config, err);
		for (size_t k = i + 1; r == 0 && k < index->n; k++) {
			struct oci_descriptor *same = &index->manifests[k];
			if (is_unknown(same) && same->size == d->size &&
			    digest_equal(&same->digest, &d->digest))
				r = tell(same, d, &config, err);
		}
		if (r == 0)
			r = tell(d, d, &config, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Go from the marked entries of an index down to the manifest of a platform. */
static int descend(struct oci_image *image, struct oci_index *index,
		   const struct oci_platform *platform, unsigned depth, struct mvm_error *err)
{
	AUTO_DONE(oci_index) below = { 0 };
	AUTO_FREE char *text = NULL;
	const struct oci_descriptor *d;
	char name[NAME_SIZE];
	size_t len;

	bool top = depth == INDEX_DEPTH;
	int r = oci_choose_platform(index, platform, !top, image->files.path, &d, err);
	if (r < 0)
		return r;
	if (d->media == OCI_MEDIA_MANIFEST)
		return read_manifest(image, d, platform, err);
	if (depth == 0)
		return mvm_error_set(err, -EBADMSG, "'%s' is damaged: indexes lead to indexes",
				     image->files.path);
	r = read_blob(image, d, name, &text, &len, err);
	if (r == 0)
		r = oci_index_parse(text, len, name, &below, err);
	if (r < 0)
		return r;
	if (oci_choose_all(&below) > 1)
		r = learn_platforms(image, &below, err);
	return r < 0 ? r : descend(image, &below, platform, depth - 1, err);
}

static int open_layout(struct oci_image *image, const char *tag,
		       const struct oci_platform *platform, struct mvm_error *err)
{
	AUTO_DONE(oci_index) index = { 0 };
	AUTO_FREE char *layout = NULL, *text = NULL;
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
		r = learn_platforms(image, &index, err); /* finds entries that are no images */
	if (r == 0)
		r = oci_choose_name(&index, tag, image->files.path, err);
	if (r > 1 && tag)
		r = learn_platforms(image, &index, err);
	return r < 0 ? r : descend(image, &index, platform, INDEX_DEPTH, err);
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
		return r;
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
	const struct oci_platform platform = { .arch = arch ? arch : host_arch(),
					       .amd64_level = oci_guest_level() };
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
