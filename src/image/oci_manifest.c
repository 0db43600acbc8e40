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
	free(d->os);
	free(d->arch);
	free(d->ref_name);
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

static int read_platform(const struct json_at *at, struct oci_descriptor *ret,
			 struct mvm_error *err)
{
	struct json_at platform;

	int r = json_get_object(at, "platform", JSON_NULLABLE, &platform, err);
	if (r <= 0)
		return r;
	r = json_get_string(&platform, "os", JSON_REQUIRED, &ret->os, err);
	return r < 0 ? r
		     : json_get_string(&platform, "architecture", JSON_REQUIRED, &ret->arch, err);
}

static int read_ref_name(const struct json_at *at, struct oci_descriptor *ret,
			 struct mvm_error *err)
{
	struct json_at annotations;

	int r = json_get_object(at, "annotations", JSON_NULLABLE, &annotations, err);
	return r <= 0 ? r
		      : json_get_string(&annotations, "org.opencontainers.image.ref.name",
					JSON_OPTIONAL, &ret->ref_name, err);
}

static int read_descriptor(const struct json_at *at, struct oci_descriptor *ret,
			   struct mvm_error *err)
{
	int r = json_get_string(at, "mediaType", JSON_REQUIRED, &ret->media_type, err);
	if (r >= 0)
		r = oci_get_digest(at, "digest", &ret->digest, err);
	if (r >= 0)
		r = json_get_u64(at, "size", 0, JSON_U64_MAX, JSON_REQUIRED, &ret->size, err);
	if (r >= 0)
		r = read_platform(at, ret, err);
	if (r >= 0)
		r = read_ref_name(at, ret, err);
	if (r < 0)
		return r;
	ret->media = media_of(ret->media_type);
	return 0;
}

/* The array of descriptors at key; what was read stays in *ret, also after an error. */
static int read_descriptors(const struct json_at *at, const char *key, size_t max,
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
		if (!json_is_object(item.value))
			return json_error(&item, NULL, err, "expected an object");
		r = read_descriptor(&item, &(*ret)[i], err);
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
	int r = json_read(text, len, name, ret_doc, err);
	if (r < 0)
		return r;
	json_root(ret_root, name, *ret_doc);
	if (!json_is_object(*ret_doc))
		return json_error(ret_root, NULL, err, "expected an object");
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
		r = read_descriptors(&root, "manifests", OCI_MANIFESTS_MAX, &x.manifests, &x.n,
				     err);
	if (r < 0)
		return r;
	*ret = x;
	x = (struct oci_index){ 0 };
	return 0;
}

int oci_manifest_parse(const char *text, size_t len, const char *name, struct oci_manifest *ret,
		       struct mvm_error *err)
{
	AUTO_DONE(oci_manifest) m = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, config;

	int r = open_document(text, len, name, &doc, &root, err);
	if (r == 0)
		r = json_get_object(&root, "config", JSON_REQUIRED, &config, err);
	if (r >= 0)
		r = read_descriptor(&config, &m.config, err);
	if (r >= 0 && m.config.media != OCI_MEDIA_CONFIG)
		return json_error(&config, "mediaType", err,
				  "is '%.100s': this is no image of a file system",
				  m.config.media_type);
	if (r >= 0)
		r = read_descriptors(&root, "layers", OCI_LAYERS_MAX, &m.layers, &m.n, err);
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
