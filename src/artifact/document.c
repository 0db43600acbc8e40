/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/document.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "artifact/bundle.h"
#include "codec/json.h"
#include "image/oci_digest.h"

#define TITLE	  "org.opencontainers.image.title"
#define NOTE_FILE "dev.mvm.file"
#define NOTE_PART "dev.mvm.part"

/* ---- writing ---- */

static json_t *descriptor(struct json_out *out, const char *type, const struct index_part *blob)
{
	char text[DIGEST_TEXT_SIZE];
	json_t *o = json_new(out);

	digest_text(&blob->digest, text);
	json_put_string(out, o, "mediaType", type);
	json_put_string(out, o, "digest", text);
	json_put_u64(out, o, "size", blob->bytes);
	return o;
}

/* "mem.bin.zst", or "mem.bin.0.zst" for a part: what `oras pull` names the blob. */
static void put_title(struct json_out *out, json_t *notes, const struct index_file *f,
		      uint32_t part)
{
	const char *slash = strrchr(f->name, '/');
	char title[INDEX_NAME_SIZE + 16], number[16] = "";

	if (f->n_parts > 1)
		snprintf(number, sizeof(number), ".%u", part);
	snprintf(title, sizeof(title), "%s%s%s", slash ? slash + 1 : f->name, number,
		 f->raw ? "" : ".zst");
	json_put_string(out, notes, TITLE, title);
}

static void put_file(struct json_out *out, json_t *layers, const struct chunk_index *x,
		     const struct index_file *f)
{
	for (uint32_t i = 0; i < f->n_parts; i++) {
		json_t *o = descriptor(out, f->raw ? ARTIFACT_RAW_TYPE : ARTIFACT_PACKED_TYPE,
				       &x->parts[f->first_part + i]);
		json_t *notes = json_new(out);
		char part[32];
		snprintf(part, sizeof(part), "%u/%u", i, f->n_parts);
		put_title(out, notes, f, i);
		json_put_string(out, notes, NOTE_FILE, f->name);
		json_put_string(out, notes, NOTE_PART, part);
		json_put(out, o, "annotations", notes);
		if (json_array_append_new(layers, o) < 0)
			out->failed = true;
	}
}

int artifact_manifest_format(const struct index_part *config, const struct index_part *index,
			     const struct chunk_index *x, char **ret, struct mvm_error *err)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out), *layers = json_array();

	if (json_array_append_new(layers, descriptor(&out, ARTIFACT_INDEX_TYPE, index)) < 0)
		out.failed = true;
	for (uint32_t i = 0; i < x->n_files; i++)
		put_file(&out, layers, x, &x->files[i]);
	json_put_u64(&out, o, "schemaVersion", 2);
	json_put_string(&out, o, "mediaType", ARTIFACT_MANIFEST_TYPE);
	json_put(&out, o, "config", descriptor(&out, ARTIFACT_CONFIG_TYPE, config));
	json_put(&out, o, "layers", layers);
	return json_out_text(&out, o, JSON_TEXT_SORTED, ret, err);
}

static json_t *signature_entry(struct json_out *out, const struct index_part *signature)
{
	json_t *o = descriptor(out, ARTIFACT_MANIFEST_TYPE, signature);
	json_put_string(out, o, "artifactType", BUNDLE_TYPE);
	return o;
}

void artifact_list_tag(const struct mvm_digest *manifest, char ret[ARTIFACT_LIST_TAG_SIZE])
{
	digest_text(manifest, ret);
	ret[strlen("sha256")] = '-'; /* a tag has no colon */
}

int artifact_referrers_format(const char *old, size_t old_len, const struct index_part *signature,
			      char **ret, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_out out = { 0 };
	size_t i;
	json_t *each;

	int r = old ? json_read(old, old_len, "the list of signatures", &doc, err) : 0;
	if (r < 0)
		return r;
	AUTO_JSON json_t *entry = signature_entry(&out, signature);
	json_t *list = json_object_get(doc, "manifests");
	json_array_foreach(list, i, each)
	{
		if (json_equal(json_object_get(each, "digest"), json_object_get(entry, "digest")))
			return 0;
	}
	json_t *all = list ? json_copy(list) : json_array(), *o = json_new(&out);
	if (json_array_append(all, entry) < 0)
		out.failed = true;
	json_put_u64(&out, o, "schemaVersion", 2);
	json_put_string(&out, o, "mediaType", ARTIFACT_LIST_TYPE);
	json_put(&out, o, "manifests", all);
	r = json_out_text(&out, o, JSON_TEXT_SORTED, ret, err);
	return r < 0 ? r : 1;
}

int artifact_layout_format(const struct index_part *manifest, const char *tag,
			   const struct index_part *signature, char **ret, struct mvm_error *err)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out), *list = json_array();
	json_t *entry = descriptor(&out, ARTIFACT_MANIFEST_TYPE, manifest);

	if (tag) {
		json_t *notes = json_new(&out);
		json_put_string(&out, notes, ARTIFACT_REF_NAME, tag);
		json_put(&out, entry, "annotations", notes);
	}
	if (json_array_append_new(list, entry) < 0)
		out.failed = true;
	if (signature && json_array_append_new(list, signature_entry(&out, signature)) < 0)
		out.failed = true;
	json_put_u64(&out, o, "schemaVersion", 2);
	json_put_string(&out, o, "mediaType", ARTIFACT_LIST_TYPE);
	json_put(&out, o, "manifests", list);
	return json_out_text(&out, o, JSON_TEXT_SORTED, ret, err);
}

/* ---- reading ---- */

static int read_blob(const struct json_at *at, struct index_part *ret, char **ret_type,
		     struct mvm_error *err)
{
	if (!json_is_object(at->value))
		return json_error(at, NULL, err, "expected an object");
	int r = json_get_string(at, "mediaType", JSON_REQUIRED, ret_type, err);
	if (r >= 0)
		r = oci_get_digest(at, "digest", &ret->digest, err);
	if (r >= 0)
		r = json_get_u64(at, "size", 0, JSON_U64_MAX, JSON_REQUIRED, &ret->bytes, err);
	return r < 0 ? r : 0;
}

static int read_config(const struct json_at *root, struct artifact_manifest *m,
		       struct mvm_error *err)
{
	AUTO_FREE char *type = NULL;
	struct json_at config;

	int r = json_get_object(root, "config", JSON_REQUIRED, &config, err);
	if (r >= 0)
		r = read_blob(&config, &m->config, &type, err);
	if (r < 0)
		return r;
	if (!str_eq(type, ARTIFACT_CONFIG_TYPE)) {
		r = mvm_error_set(err, -EOPNOTSUPP,
				  "%s: this is no template of mvm's: its config is '%.100s'",
				  root->key, type);
		return r;
	}
	return m->config.bytes <= ARTIFACT_CONFIG_MAX
		       ? 0
		       : json_error(&config, "size", err, "is larger than %zu bytes",
				    ARTIFACT_CONFIG_MAX);
}

static int read_layers(const struct json_at *root, struct artifact_manifest *m,
		       struct mvm_error *err)
{
	struct json_at layers;

	int r = json_get_array(root, "layers", JSON_REQUIRED, &layers, err);
	if (r < 0)
		return r;
	size_t n = json_array_size(layers.value);
	if (n == 0 || n > INDEX_MAX_PARTS + 1)
		return json_error(root, "layers", err, "has %zu items, not 1 to %u", n,
				  INDEX_MAX_PARTS + 1);
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *type = NULL;
		struct json_at item;
		json_item(&layers, i, &item);
		r = read_blob(&item, i ? &m->blobs[i - 1] : &m->index, &type, err);
		if (r < 0)
			return r;
		bool known = i ? str_eq(type, ARTIFACT_PACKED_TYPE) ||
					     str_eq(type, ARTIFACT_RAW_TYPE)
			       : str_eq(type, ARTIFACT_INDEX_TYPE);
		if (!known)
			return json_error(&item, "mediaType", err,
					  "is '%.100s', which has no place "
					  "here",
					  type);
	}
	m->n_blobs = (uint32_t)n - 1;
	return m->index.bytes <= INDEX_MAX_BYTES
		       ? 0
		       : json_error(&layers, NULL, err, "its chunk index exceeds %zu bytes",
				    INDEX_MAX_BYTES);
}

int artifact_manifest_parse(const char *text, size_t len, const char *name,
			    struct artifact_manifest *ret, struct mvm_error *err)
{
	struct artifact_manifest m = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;
	uint64_t version;

	if (len > ARTIFACT_MANIFEST_MAX)
		return mvm_error_set(err, -EFBIG, "%s: larger than %zu MiB", name,
				     ARTIFACT_MANIFEST_MAX >> 20);
	int r = json_read_object(text, len, name, &doc, &root, err);
	if (r < 0)
		return r;
	r = json_get_u64(&root, "schemaVersion", 2, 2, JSON_REQUIRED, &version, err);
	if (r >= 0)
		r = read_config(&root, &m, err);
	if (r >= 0)
		r = read_layers(&root, &m, err);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

int artifact_manifest_check(const struct artifact_manifest *m, const struct chunk_index *x,
			    struct mvm_error *err)
{
	bool same = m->n_blobs == x->n_parts;

	for (uint32_t i = 0; same && i < x->n_parts; i++)
		same = digest_equal(&m->blobs[i].digest, &x->parts[i].digest) &&
		       m->blobs[i].bytes == x->parts[i].bytes;
	return same ? 0
		    : mvm_error_set(err, -EBADMSG,
				    "the chunk index names other blobs than the manifest");
}
