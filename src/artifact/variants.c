/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/variants.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "codec/json.h"
#include "image/oci_digest.h"
#include "model/name.h"

#define NOTE_REVISION "dev.mvm.revision"
#define NOTE_CPU      "dev.mvm.cpu-hash"
#define NOTE_BACKEND  "dev.mvm.backend-hash"

static int compare(const struct variant_key *a, const struct variant_key *b)
{
	int r = strcmp(a->cpu, b->cpu);
	return r ? r : strcmp(a->backend, b->backend);
}

int variants_add(struct variants *l, const struct variant *v)
{
	size_t i = 0;

	while (i < l->n && compare(&l->v[i].key, &v->key) < 0)
		i++;
	if (i == l->n || compare(&l->v[i].key, &v->key) != 0) {
		if (l->n == VARIANTS_MAX)
			return -E2BIG;
		memmove(&l->v[i + 1], &l->v[i], (l->n++ - i) * sizeof(l->v[0]));
	}
	l->v[i] = *v;
	return 0;
}

const struct variant *variants_find(const struct variants *l, const struct variant_key *keys,
				    size_t n)
{
	for (size_t k = 0; k < n; k++) {
		for (size_t i = 0; i < l->n; i++) {
			if (compare(&l->v[i].key, &keys[k]) == 0)
				return &l->v[i];
		}
	}
	return NULL;
}

/* ---- writing ---- */

static json_t *entry(struct json_out *out, const struct variant *v)
{
	json_t *o = json_new(out), *notes = json_new(out);
	char digest[DIGEST_TEXT_SIZE];

	digest_text(&v->manifest.digest, digest);
	json_put_string(out, o, "mediaType", ARTIFACT_MANIFEST_TYPE);
	json_put_string(out, o, "digest", digest);
	json_put_u64(out, o, "size", v->manifest.bytes);
	json_put_string(out, notes, NOTE_BACKEND, v->key.backend);
	json_put_string(out, notes, NOTE_CPU, v->key.cpu);
	json_put(out, o, "annotations", notes);
	return o;
}

int variants_format(const struct variants *l, char **ret, struct mvm_error *err)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out), *list = json_array(), *notes = json_new(&out);

	for (size_t i = 0; i < l->n; i++) {
		if (json_array_append_new(list, entry(&out, &l->v[i])) < 0)
			out.failed = true;
	}
	/* skopeo writes indexes anew, in this order: so its copy has the same digest */
	json_put_string(&out, notes, NOTE_REVISION, l->revision);
	json_put_u64(&out, o, "schemaVersion", 2);
	json_put_string(&out, o, "mediaType", ARTIFACT_LIST_TYPE);
	json_put(&out, o, "manifests", list);
	json_put(&out, o, "annotations", notes);
	return json_out_text(&out, o, JSON_TEXT_DENSE, ret, err);
}

/* ---- reading ---- */

static int read_hash(const struct json_at *notes, const char *key, char ret[VARIANT_HASH_SIZE],
		     struct mvm_error *err)
{
	const char *hash = json_string_value(json_object_get(notes->value, key));

	if (!hash || strlen(hash) != VARIANT_HASH_SIZE - 1 ||
	    strspn(hash, "0123456789abcdef") != VARIANT_HASH_SIZE - 1)
		return json_error(notes, key, err, "is no hash of 16 digits");
	memcpy(ret, hash, VARIANT_HASH_SIZE);
	return 0;
}

/* 1: the entry is a variant; 0: it is something else, without our annotations. */
static int is_ours(const struct json_at *at, struct json_at *ret_notes)
{
	const char *media = json_string_value(json_object_get(at->value, "mediaType"));

	if (!str_eq(media, ARTIFACT_MANIFEST_TYPE) ||
	    json_get_object(at, "annotations", JSON_OPTIONAL, ret_notes, NULL) <= 0)
		return 0;
	return json_object_get(ret_notes->value, NOTE_CPU) ||
	       json_object_get(ret_notes->value, NOTE_BACKEND);
}

static int read_entry(const struct json_at *at, struct variants *l, struct mvm_error *err)
{
	struct variant v = { 0 };
	struct json_at notes;
	const size_t before = l->n;

	if (!is_ours(at, &notes))
		return 0;
	int r = oci_get_digest(at, "digest", &v.manifest.digest, err);
	if (r >= 0)
		r = json_get_u64(at, "size", 1, ARTIFACT_MANIFEST_MAX, JSON_REQUIRED,
				 &v.manifest.bytes, err);
	if (r >= 0)
		r = read_hash(&notes, NOTE_CPU, v.key.cpu, err);
	if (r >= 0)
		r = read_hash(&notes, NOTE_BACKEND, v.key.backend, err);
	if (r < 0)
		return r;
	if (variants_add(l, &v) < 0 || l->n == before)
		return json_error(at, NULL, err, "is for the same hosts as another entry");
	return 0;
}

static int read_entries(const struct json_at *root, struct variants *l, struct mvm_error *err)
{
	struct json_at list, item;

	int r = json_get_array(root, "manifests", JSON_REQUIRED, &list, err);
	size_t n = r < 0 ? 0 : json_array_size(list.value);
	if (n > VARIANTS_MAX)
		return json_error(root, "manifests", err, "has more than %u items", VARIANTS_MAX);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		json_item(&list, i, &item);
		r = read_entry(&item, l, err);
	}
	if (r >= 0 && l->n == 0)
		r = json_error(root, "manifests", err, "has no template's snapshot");
	return r < 0 ? r : 0;
}

int variants_parse(const char *text, size_t len, const char *name, struct variants *ret,
		   struct mvm_error *err)
{
	struct variants l = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = json_read_object(text, len, name, &doc, &root, err);
	if (r < 0)
		return r;
	const json_t *notes = json_object_get(doc, "annotations");
	const char *revision = json_string_value(json_object_get(notes, NOTE_REVISION));
	if (!revision || json_object_get(doc, "config") || json_object_get(doc, "layers"))
		return 0;
	if (len > VARIANTS_MAX_BYTES)
		return mvm_error_set(err, -EFBIG, "%s: larger than %zu KiB", name,
				     VARIANTS_MAX_BYTES >> 10);
	if (strlen(revision) >= sizeof(l.revision) || !name_valid(NAME_REVISION, revision))
		return json_error(&root, "annotations", err, NOTE_REVISION " is no revision");
	snprintf(l.revision, sizeof(l.revision), "%s", revision);
	r = read_entries(&root, &l, err);
	if (r < 0)
		return r;
	*ret = l;
	return 1;
}
