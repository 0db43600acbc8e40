/* SPDX-License-Identifier: Apache-2.0 */
#include "image/oci_manifest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"
#include "codec/sha256.h"
#include "image/oci_digest.h"

static void descriptor_done(struct oci_descriptor *d)
{
	free(d->media_type);
	free(d->artifact_type);
	free(d->os);
	free(d->arch);
	free(d->variant);
	free(d->ref_name);
	free(d->image_name);
	free(d->problem);
	*d = (struct oci_descriptor){ 0 };
}

static void descriptors_free(struct oci_descriptor *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		descriptor_done(&list[i]);
	free(list);
}

void oci_index_done(struct oci_index *x)
{
	descriptors_free(x->manifests, x->n);
	*x = (struct oci_index){ 0 };
}

void oci_manifest_done(struct oci_manifest *m)
{
	descriptor_done(&m->config);
	descriptors_free(m->layers, m->n);
	*m = (struct oci_manifest){ 0 };
}

static enum oci_media media_of(const char *type)
{
	static const struct {
		const char *type;
		enum oci_media media;
	} known[] = {
		{ "application/vnd.oci.image.index.v1+json", OCI_MEDIA_INDEX },
		{ "application/vnd.docker.distribution.manifest.list.v2+json", OCI_MEDIA_INDEX },
		{ "application/vnd.oci.image.manifest.v1+json", OCI_MEDIA_MANIFEST },
		{ "application/vnd.docker.distribution.manifest.v2+json", OCI_MEDIA_MANIFEST },
		{ "application/vnd.oci.image.config.v1+json", OCI_MEDIA_CONFIG },
		{ "application/vnd.docker.container.image.v1+json", OCI_MEDIA_CONFIG },
		{ "application/vnd.oci.image.layer.v1.tar", OCI_MEDIA_LAYER },
		{ "application/vnd.oci.image.layer.v1.tar+gzip", OCI_MEDIA_LAYER },
		{ "application/vnd.oci.image.layer.v1.tar+zstd", OCI_MEDIA_LAYER },
		{ "application/vnd.oci.image.layer.nondistributable.v1.tar", OCI_MEDIA_LAYER },
		{ "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", OCI_MEDIA_LAYER },
		{ "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", OCI_MEDIA_LAYER },
		{ "application/vnd.docker.image.rootfs.diff.tar", OCI_MEDIA_LAYER },
		{ "application/vnd.docker.image.rootfs.diff.tar.gzip", OCI_MEDIA_LAYER },
		{ "application/vnd.docker.image.rootfs.diff.tar.zstd", OCI_MEDIA_LAYER },
		{ "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", OCI_MEDIA_LAYER },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(known); i++) {
		if (strcmp(known[i].type, type) == 0)
			return known[i].media;
	}
	return OCI_MEDIA_OTHER;
}

/* Read a text.  *ret is NULL if the text is missing, null or empty. */
static int get_text(const struct json_at *at, const char *key, char **ret, struct mvm_error *err)
{
	int r = json_get_string(at, key, JSON_NULLABLE, ret, err);
	if (r > 0 && !**ret)
		free(TAKE_PTR(*ret));
	return r < 0 ? r : 0;
}

static int read_platform(const struct json_at *at, struct oci_descriptor *ret,
			 struct mvm_error *err)
{
	struct json_at platform;

	int r = json_get_object(at, "platform", JSON_NULLABLE, &platform, err);
	if (r <= 0)
		return r;
	r = get_text(&platform, "os", &ret->os, err);
	if (r == 0)
		r = get_text(&platform, "architecture", &ret->arch, err);
	return r < 0 ? r : get_text(&platform, "variant", &ret->variant, err);
}

static int read_names(const struct json_at *at, struct oci_descriptor *ret, struct mvm_error *err)
{
	struct json_at notes;

	int r = json_get_object(at, "annotations", JSON_NULLABLE, &notes, err);
	if (r <= 0)
		return r;
	r = get_text(&notes, "org.opencontainers.image.ref.name", &ret->ref_name, err);
	return r < 0 ? r : get_text(&notes, "io.containerd.image.name", &ret->image_name, err);
}

static int read_media(const struct json_at *at, struct oci_descriptor *ret, struct mvm_error *err)
{
	int r = json_get_string(at, "mediaType", JSON_REQUIRED, &ret->media_type, err);
	if (r >= 0)
		r = get_text(at, "artifactType", &ret->artifact_type, err);
	if (r < 0)
		return r;
	ret->media = ret->artifact_type ? OCI_MEDIA_OTHER : media_of(ret->media_type);
	return 0;
}

static int read_blob_facts(const struct json_at *at, struct oci_descriptor *ret,
			   struct mvm_error *err)
{
	int r = oci_get_digest(at, "digest", &ret->digest, err);
	return r < 0 ? r
		     : json_get_u64(at, "size", 0, JSON_U64_MAX, JSON_REQUIRED, &ret->size, err);
}

/* Read as many members as possible, and return the first failure. */
static int read_descriptor(const struct json_at *at, struct oci_descriptor *ret,
			   struct mvm_error *err)
{
	static int (*const parts[])(const struct json_at *, struct oci_descriptor *,
				    struct mvm_error *) = { read_media, read_blob_facts,
							    read_platform, read_names };
	int first = 0;

	if (!json_is_object(at->value))
		return json_error(at, NULL, err, "expected an object");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(parts) && first != -ENOMEM; i++) {
		int r = parts[i](at, ret, first ? NULL : err);
		if (r < 0 && (!first || r == -ENOMEM))
			first = r;
	}
	return first;
}

/* Read one entry of an index.  A fault becomes its `problem`. */
static int read_entry(const struct json_at *at, struct oci_descriptor *ret, struct mvm_error *err)
{
	struct mvm_error problem = { 0 };

	int r = read_descriptor(at, ret, &problem);
	if (r >= 0)
		return r;
	ret->problem = r == -ENOMEM ? NULL : strdup(problem.text);
	ret->problem_code = r;
	return ret->problem ? 0 : mvm_error_oom(err);
}

/* Read the array of descriptors at key.  After an error *ret keeps the descriptors read so far. */
static int read_descriptors(const struct json_at *at, const char *key, size_t max,
			    int (*read)(const struct json_at *, struct oci_descriptor *,
					struct mvm_error *),
			    struct oci_descriptor **ret, size_t *ret_n, struct mvm_error *err)
{
	struct json_at list, item;

	int r = json_get_array(at, key, JSON_REQUIRED, &list, err);
	if (r < 0)
		return r;
	size_t n = json_array_size(list.value);
	if (n > max)
		return json_error(at, key, err, "has %zu items, more than %zu", n, max);
	*ret = calloc(n ? n : 1, sizeof(**ret));
	if (!*ret)
		return mvm_error_oom(err);
	*ret_n = n;
	for (size_t i = 0; i < n; i++) {
		json_item(&list, i, &item);
		r = read(&item, &(*ret)[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Open a document whose schemaVersion is 2. */
static int open_document(const char *text, size_t len, const char *name, json_t **ret_doc,
			 struct json_at *ret_root, struct mvm_error *err)
{
	uint64_t version;

	if (len > OCI_JSON_MAX)
		return mvm_error_set(err, -EFBIG, "%s: larger than %zu MiB", name,
				     OCI_JSON_MAX >> 20);
	int r = json_read_object(text, len, name, ret_doc, ret_root, err);
	if (r < 0)
		return r;
	r = json_get_u64(ret_root, "schemaVersion", 0, 1000, JSON_REQUIRED, &version, err);
	if (r >= 0 && version != 2)
		return json_error(ret_root, "schemaVersion", err, "is %llu, only 2 is known",
				  (unsigned long long)version);
	return r < 0 ? r : 0;
}

int oci_index_parse(const char *text, size_t len, const char *name, struct oci_index *ret,
		    struct mvm_error *err)
{
	AUTO_DONE(oci_index) x = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = open_document(text, len, name, &doc, &root, err);
	if (r == 0)
		r = read_descriptors(&root, "manifests", OCI_MANIFESTS_MAX, read_entry,
				     &x.manifests, &x.n, err);
	if (r < 0)
		return r;
	*ret = x;
	x = (struct oci_index){ 0 };
	return 0;
}

/* Open a manifest, and read which configuration it has. */
static int open_manifest(const char *text, size_t len, const char *name, json_t **ret_doc,
			 struct json_at *ret_root, struct json_at *ret_config,
			 struct oci_manifest *ret, struct mvm_error *err)
{
	int r = open_document(text, len, name, ret_doc, ret_root, err);
	if (r == 0)
		r = json_get_object(ret_root, "config", JSON_REQUIRED, ret_config, err);
	return r < 0 ? r : read_descriptor(ret_config, &ret->config, err);
}

static int read_layers(const struct json_at *root, struct oci_manifest *ret, struct mvm_error *err)
{
	return read_descriptors(root, "layers", OCI_LAYERS_MAX, read_descriptor, &ret->layers,
				&ret->n, err);
}

int oci_manifest_parse(const char *text, size_t len, const char *name, struct oci_manifest *ret,
		       struct mvm_error *err)
{
	AUTO_DONE(oci_manifest) m = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, config;

	int r = open_manifest(text, len, name, &doc, &root, &config, &m, err);
	if (r >= 0 && m.config.media != OCI_MEDIA_CONFIG)
		return json_error(&config, "mediaType", err,
				  "is '%.100s': this is no container image", m.config.media_type);
	if (r >= 0)
		r = read_layers(&root, &m, err);
	for (size_t i = 0; r >= 0 && i < m.n; i++) {
		if (m.layers[i].media != OCI_MEDIA_LAYER)
			return json_error(&root, "layers", err,
					  "[%zu] is '%.100s', which is no layer that mvm reads", i,
					  m.layers[i].media_type);
	}
	if (r < 0)
		return r;
	*ret = m;
	m = (struct oci_manifest){ 0 };
	return 0;
}

int oci_file_parse(const char *text, size_t len, const char *name, struct oci_descriptor *ret,
		   struct mvm_error *err)
{
	AUTO_DONE(oci_manifest) m = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, config;

	int r = open_manifest(text, len, name, &doc, &root, &config, &m, err);
	if (r >= 0 && m.config.media == OCI_MEDIA_CONFIG)
		return mvm_error_set(err, -EINVAL, "'%s' is a container image", name);
	if (r >= 0)
		r = read_layers(&root, &m, err);
	if (r >= 0 && m.n != 1)
		return mvm_error_set(err, -EINVAL, "'%s' has %zu files, not one", name, m.n);
	if (r < 0)
		return r;
	*ret = (struct oci_descriptor){ .digest = m.layers[0].digest, .size = m.layers[0].size };
	return 0;
}
