/* SPDX-License-Identifier: Apache-2.0 */
#include "build/nix_report.h"

#include <errno.h>
#include <string.h>

#include "codec/json.h"

#define METADATA "nix flake metadata"
#define EVAL	 "nix eval"
#define BUILD	 "nix build"
#define PATHINFO "nix path-info"

void nix_metadata_done(struct nix_metadata *m)
{
	free(m->source);
	free(m->dir);
	free(m->identity);
	free(m->locks);
	*m = (struct nix_metadata){ 0 };
}

/* {"nodes": {"root": {"inputs": {...}}, ...}, "root": "root", "version": 7} */
static int read_locks(const struct json_at *root, struct nix_metadata *m, struct mvm_error *err)
{
	AUTO_FREE char *name = NULL;
	struct json_at locks, nodes, node, inputs;
	struct json_out out = { 0 };

	int r = json_get_object(root, "locks", JSON_REQUIRED, &locks, err);
	if (r >= 0)
		r = json_get_string(&locks, "root", JSON_REQUIRED, &name, err);
	if (r >= 0)
		r = json_get_object(&locks, "nodes", JSON_REQUIRED, &nodes, err);
	if (r >= 0)
		r = json_get_object(&nodes, name, JSON_REQUIRED, &node, err);
	if (r >= 0)
		r = json_get_object(&node, "inputs", JSON_OPTIONAL, &inputs, err);
	if (r < 0)
		return r;
	m->has_inputs = r > 0 && json_object_size(inputs.value) > 0;
	return json_out_text(&out, json_incref(locks.value), JSON_TEXT_SORTED, &m->locks, err);
}

int nix_metadata_parse(const char *text, size_t len, struct nix_metadata *ret,
		       struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_DONE(nix_metadata) m = { 0 };
	struct json_at root, locked;

	int r = json_read(text, len, METADATA, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, METADATA, doc);
	r = json_get_object(&root, "locked", JSON_OPTIONAL, &locked, err);
	if (r == 0) /* Nix prints no "locked" for a source that it cannot lock */
		r = json_get_object(&root, "resolved", JSON_REQUIRED, &locked, err);
	if (r >= 0)
		r = json_get_string(&locked, "narHash", JSON_NULLABLE, &m.identity, err);
	if (r >= 0)
		m.is_commit = json_is_string(json_object_get(locked.value, "rev"));
	if (r == 0)
		r = json_get_string(&locked, "rev", JSON_NULLABLE, &m.identity, err);
	if (r >= 0)
		r = json_get_string(&locked, "dir", JSON_NULLABLE, &m.dir, err);
	if (r >= 0)
		r = json_get_string(&root, "path", JSON_NULLABLE, &m.source, err);
	if (r >= 0)
		r = read_locks(&root, &m, err);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct nix_metadata){ 0 };
	return 0;
}

int nix_names_parse(const char *text, size_t len, struct strv *ret, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = json_read(text, len, EVAL, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, EVAL, doc);
	if (!json_is_array(doc))
		return json_error(&root, NULL, err, "expected a list of names");
	for (size_t i = 0; i < json_array_size(doc); i++) {
		json_t *item = json_array_get(doc, i);
		struct json_at at;
		json_item(&root, i, &at);
		if (!json_is_string(item))
			return json_error(&at, NULL, err, "expected a name");
		strv_add(ret, json_string_value(item));
	}
	return ret->failed ? mvm_error_oom(err) : 0;
}

static int check_path(const struct json_at *at, const char *key, const char *path,
		      struct mvm_error *err)
{
	return path[0] == '/' ? 0 : json_error(at, key, err, "expected an absolute path");
}

/* [{"drvPath": "...", "outputs": {"out": "/nix/store/..."}}] */
int nix_build_parse(const char *text, size_t len, char **ret_path, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_FREE char *path = NULL;
	struct json_at root, item, outputs;

	int r = json_read(text, len, BUILD, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, BUILD, doc);
	if (json_array_size(doc) != 1)
		return json_error(&root, NULL, err, "expected a list with one build");
	json_item(&root, 0, &item);
	r = json_get_object(&item, "outputs", JSON_REQUIRED, &outputs, err);
	if (r < 0)
		return r;
	const char *name = json_object_get(outputs.value, "out")
				   ? "out"
				   : json_object_iter_key(json_object_iter(outputs.value));
	if (!name)
		return json_error(&item, "outputs", err, "expected an output");
	r = json_get_string(&outputs, name, JSON_REQUIRED, &path, err);
	if (r >= 0)
		r = check_path(&outputs, name, path, err);
	if (r < 0)
		return r;
	*ret_path = TAKE_PTR(path);
	return 0;
}

/* [{"path": "...", "closureSize": n}]; newer Nix prints {"<path>": {"closureSize": n}} */
int nix_closure_parse(const char *text, size_t len, uint64_t *ret_bytes, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, item;
	int r = json_read(text, len, PATHINFO, &doc, err);

	if (r < 0)
		return r;
	json_root(&root, PATHINFO, doc);
	if (json_array_size(doc) + json_object_size(doc) != 1)
		return json_error(&root, NULL, err, "expected one path");
	if (json_is_array(doc)) {
		json_item(&root, 0, &item);
	} else {
		const char *path = json_object_iter_key(json_object_iter(doc));
		r = json_get_object(&root, path, JSON_REQUIRED, &item, err);
	}
	return r < 0 ? r
		     : json_get_u64(&item, "closureSize", 0, JSON_U64_MAX, JSON_REQUIRED, ret_bytes,
				    err);
}
