/* SPDX-License-Identifier: Apache-2.0 */
#include "store/cache.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "model/model_json.h"
#include "model/read.h"
#include "model/strings.h"

#define CACHE_MAX ((size_t)4 * 1024 * 1024)

#define FILE_NAME_SIZE (DIGEST_HEX_SIZE + 8)

void store_build_done(struct store_build *b)
{
	free(b->fingerprint);
	mvm_run_done(&b->run);
	mvm_strings_done(&b->facts);
	*b = (struct store_build){ 0 };
}

/* The name of a cache file: "<cache key>.json".  A key is always a digest. */
static int file_name(const char *cache_key, char ret[FILE_NAME_SIZE], struct mvm_error *err)
{
	struct mvm_digest d;
	if (digest_parse(cache_key, &d) < 0)
		return mvm_error_set(err, -EINVAL, "'%.80s' is no cache key", cache_key);
	snprintf(ret, FILE_NAME_SIZE, "%s.json", cache_key);
	return 0;
}

static bool is_file_name(const char *name)
{
	struct mvm_digest d;
	char key[DIGEST_HEX_SIZE];
	snprintf(key, sizeof(key), "%s", name);
	return digest_parse(key, &d) == 0 && strcmp(name + strlen(key), ".json") == 0;
}

static int read_artifacts(const struct json_at *at, struct store_build *ret, struct mvm_error *err)
{
	struct json_at artifacts;
	const char *name;
	json_t *value;

	int r = json_get_object(at, "artifacts", JSON_REQUIRED, &artifacts, err);
	if (r < 0)
		return r;
	json_object_foreach(artifacts.value, name, value)
	{
		AUTO_FREE char *hex = NULL;
		struct store_cached_artifact *a = &ret->artifacts[ret->n_artifacts];
		if (ret->n_artifacts == STORE_CACHE_ARTIFACTS || strlen(name) >= sizeof(a->name) ||
		    !mvm_artifact_name_valid(name))
			return json_error(&artifacts, NULL, err,
					  "has too many artifacts, or one whose name is not valid");
		r = json_get_string(&artifacts, name, JSON_REQUIRED, &hex, err);
		if (r < 0)
			return r;
		if (digest_parse(hex, &a->digest) < 0)
			return json_error(&artifacts, name, err, "is no SHA-256 digest");
		memcpy(a->name, name, strlen(name) + 1);
		ret->n_artifacts++;
	}
	return 0;
}

static int read_build(const struct json_at *at, struct store_build *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) facts = { 0 };
	struct json_at run;
	int r;

	if ((r = json_get_string(at, "source_fingerprint", JSON_REQUIRED, &ret->fingerprint, err)) <
		    0 ||
	    (r = json_get_time(at, "built_at", JSON_REQUIRED, &ret->built_at, err)) < 0 ||
	    (r = read_artifacts(at, ret, err)) < 0 ||
	    (r = json_get_pairs(at, "facts", JSON_OPTIONAL, &facts, err)) < 0)
		return r;
	if (r > 0 && strings_take(&facts, &ret->facts) < 0)
		return mvm_error_oom(err);
	r = json_get_object(at, "run", JSON_OPTIONAL, &run, err);
	return r > 0 ? run_read(&run, &ret->run, err) : r;
}

/* Read the builds in a cache file.  A damaged file has none.  Returns 0 or -ENOMEM. */
static int load(struct store *s, const char *name, json_t **ret_doc, struct json_at *ret_root,
		struct json_at *ret_builds, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	uint32_t version;
	size_t len;

	*ret_builds = (struct json_at){ 0 };
	int dir = store_dir(s, STORE_BUILDS);
	int r = dir < 0 ? dir : file_read_at(dir, name, CACHE_MAX, &text, &len);
	if (r < 0)
		return r == -ENOMEM ? mvm_error_oom(err) : 0;
	if (json_read(text, len, name, &doc, NULL) < 0)
		return 0;
	json_root(ret_root, name, doc);
	if (read_schema_version(ret_root, &version, NULL) < 0 ||
	    json_get_array(ret_root, "builds", JSON_REQUIRED, ret_builds, NULL) < 0)
		return 0;
	*ret_doc = TAKE_PTR(doc);
	return 0;
}

int store_cache_get(struct store *s, const char *cache_key, const char *fingerprint,
		    struct store_build *ret, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, builds, item;
	char name[FILE_NAME_SIZE];

	int r = file_name(cache_key, name, err);
	if (r >= 0)
		r = load(s, name, &doc, &root, &builds, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < json_array_size(builds.value); i++) {
		AUTO_DONE(store_build) build = { 0 };
		json_item(&builds, i, &item);
		r = read_build(&item, &build, err);
		if (r == -ENOMEM)
			return r;
		if (r < 0 || strcmp(build.fingerprint, fingerprint) != 0)
			continue;
		*ret = build;
		build = (struct store_build){ 0 };
		return 1;
	}
	return 0;
}

static json_t *build_json(struct json_out *out, const struct store_build *b)
{
	json_t *o = json_new(out), *artifacts = json_new(out);
	char hex[DIGEST_HEX_SIZE];

	json_put_string(out, o, "source_fingerprint", b->fingerprint);
	json_put_time(out, o, "built_at", b->built_at);
	for (size_t i = 0; i < b->n_artifacts; i++) {
		digest_hex(&b->artifacts[i].digest, hex);
		json_put_string(out, artifacts, b->artifacts[i].name, hex);
	}
	json_put(out, o, "artifacts", artifacts);
	if (!mvm_run_empty(&b->run))
		json_put(out, o, "run", run_json(out, &b->run));
	if (b->facts.n)
		json_put_pairs(out, o, "facts", b->facts.v, b->facts.n);
	return o;
}

static bool same_source(json_t *item, const char *fingerprint)
{
	const char *other = json_string_value(json_object_get(item, "source_fingerprint"));
	return !other || strcmp(other, fingerprint) == 0;
}

/* Replace a cache file.  Takes the list over. */
static int write_builds(struct store *s, const char *name, struct json_out *out, json_t *list,
			struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	json_t *o = json_new(out);

	json_put_u64(out, o, "schema_version", MVM_SCHEMA_VERSION);
	json_put(out, o, "builds", list);
	int r = json_out_text(out, o, JSON_TEXT_PRETTY, &text, err);
	if (r < 0)
		return r;
	int dir = store_dir_get(s, STORE_BUILDS, err);
	int scratch = dir < 0 ? dir : store_scratch(s, err);
	if (scratch < 0)
		return scratch;
	r = file_replace_at(scratch, dir, name, text, strlen(text), 0600);
	if (r < 0)
		mvm_error_set(err, r, "cannot write the build cache: %s", strerror(-r));
	return store_mend(s, r, err);
}

int store_cache_put(struct store *s, const char *cache_key, const struct store_build *build,
		    const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, builds;
	struct json_out out = { 0 };
	char name[FILE_NAME_SIZE];

	int r = file_name(cache_key, name, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock = store_lock(s, "writes the build cache", progress);
	if (lock < 0)
		return store_lock_failed(s, STORE_LOCKS, "store", lock, err);
	r = load(s, name, &doc, &root, &builds, err);
	if (r < 0)
		return r;

	json_t *list = json_array();
	if (json_array_append_new(list, build_json(&out, build)) < 0)
		out.failed = true;
	for (size_t i = 0; i < json_array_size(builds.value); i++) {
		json_t *old = json_array_get(builds.value, i);
		if (json_array_size(list) < STORE_CACHE_BUILDS &&
		    !same_source(old, build->fingerprint) && json_array_append(list, old) < 0)
			out.failed = true;
	}
	return write_builds(s, name, &out, list, err);
}

/* Drop the builds of one cache file that are not kept, and the file when none is left. */
static int filter_file(struct store *s, int dir, const char *name, bool dry_run,
		       int (*keep)(void *arg, const struct store_build *build), void *arg,
		       size_t *dropped, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_JSON json_t *list = json_array();
	struct json_at root, builds, item;
	struct json_out out = { .failed = !list };
	size_t gone = 0;

	int r = load(s, name, &doc, &root, &builds, err);
	for (size_t i = 0; r >= 0 && i < json_array_size(builds.value); i++) {
		AUTO_DONE(store_build) build = { 0 };
		json_item(&builds, i, &item);
		r = read_build(&item, &build, err);
		if (r == 0)
			r = keep(arg, &build);
		if (r == -ENOMEM)
			return mvm_error_oom(err);
		if (r > 0 && json_array_append(list, item.value) < 0)
			out.failed = true;
		gone += r <= 0;
		r = 0;
	}
	if (r < 0 || gone == 0)
		return r;
	*dropped += gone;
	if (dry_run)
		return 0;
	if (json_array_size(list) > 0)
		return write_builds(s, name, &out, TAKE_PTR(list), err);
	if (unlinkat(dir, name, 0) < 0)
		return mvm_error_set(err, -errno, "cannot remove '%s' of the build cache: %s", name,
				     strerror(errno));
	return 0;
}

int store_cache_filter(struct store *s, bool dry_run,
		       int (*keep)(void *arg, const struct store_build *build), void *arg,
		       size_t *ret_dropped, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	size_t dropped = 0;

	int r = store_dir_names(s, STORE_BUILDS, &names, err);
	int dir = store_dir(s, STORE_BUILDS);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		if (is_file_name(names.v[i]))
			r = filter_file(s, dir, names.v[i], dry_run, keep, arg, &dropped, err);
	}
	if (r < 0)
		return r;
	*ret_dropped = dropped;
	return 0;
}
