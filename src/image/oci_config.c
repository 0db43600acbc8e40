/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "base/signals.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "image/oci_digest.h"
#include "image/oci_manifest.h"

#define SHA256_PREFIX	   "sha256:"
#define WORDS_MAX	   4096u /* arguments, variables, tags */
#define PATH_BYTES_MAX	   4095u
#define USER_BYTES_MAX	   255u
#define PLATFORM_BYTES_MAX 255u

int oci_digest_parse(const char *s, struct mvm_digest *ret)
{
	if (str_starts(s, SHA256_PREFIX))
		return digest_parse(s + strlen(SHA256_PREFIX), ret);
	return strchr(s, ':') ? -EOPNOTSUPP : -EINVAL;
}

int oci_digest_error(const struct json_at *at, const char *key, int r, const char *text,
		     struct mvm_error *err)
{
	json_error(at, key, err, "'%.80s' is no SHA-256 digest", text);
	if (r == -EOPNOTSUPP && err)
		err->code = r; /* the digest of an algorithm that mvm does not know */
	return r == -EOPNOTSUPP ? r : -EBADMSG;
}

int oci_get_digest(const struct json_at *at, const char *key, struct mvm_digest *ret,
		   struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;

	int r = json_get_string(at, key, JSON_REQUIRED, &text, err);
	if (r < 0)
		return r;
	r = oci_digest_parse(text, ret);
	return r < 0 ? oci_digest_error(at, key, r, text, err) : 0;
}

void oci_config_done(struct oci_config *c)
{
	free(c->os);
	free(c->arch);
	free(c->variant);
	strv_done(&c->notes);
	strv_done(&c->command);
	strv_done(&c->env);
	free(c->workdir);
	free(c->user);
	free(c->diff_ids);
	*c = (struct oci_config){ 0 };
}

static void saved_done(struct oci_saved *s)
{
	free(s->config);
	strv_done(&s->tags);
	strv_done(&s->layers);
}

void oci_saved_list_done(struct oci_saved_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		saved_done(&l->images[i]);
	free(l->images);
	*l = (struct oci_saved_list){ 0 };
}

static int get_words(const struct json_at *at, const char *key, size_t max, struct strv *ret,
		     struct mvm_error *err)
{
	int r = json_get_strings(at, key, JSON_NULLABLE, ret, err);
	if (r >= 0 && ret->failed)
		return mvm_error_oom(err);
	if (r >= 0 && ret->n > max)
		return json_error(at, key, err, "has more than %zu items", max);
	return r < 0 ? r : 0;
}

/* Read Env.  Drop variables without a value ("NAME"), as container runtimes do. */
static int get_env(const struct json_at *at, struct strv *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) all = { 0 };

	int r = get_words(at, "Env", WORDS_MAX, &all, err);
	for (size_t i = 0; r == 0 && i < all.n; i++) {
		if (all.v[i][0] == '=')
			r = json_error(at, "Env", err, "[%zu] has no name", i);
		else if (strchr(all.v[i], '='))
			strv_add(ret, all.v[i]);
	}
	return r == 0 && ret->failed ? mvm_error_oom(err) : r;
}

/* Read a text; an empty one becomes NULL. */
static int get_text(const struct json_at *at, const char *key, size_t max, char **ret,
		    struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;

	int r = json_get_string(at, key, JSON_NULLABLE, &text, err);
	if (r <= 0 || !*text)
		return r < 0 ? r : 0;
	if (strlen(text) > max)
		return json_error(at, key, err, "is longer than %zu bytes", max);
	*ret = TAKE_PTR(text);
	return 0;
}

static int get_workdir(const struct json_at *at, char **ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;

	int r = get_text(at, "WorkingDir", PATH_BYTES_MAX - 1, &text, err);
	if (r < 0 || !text)
		return r;
	*ret = text[0] == '/' ? TAKE_PTR(text) : str_printf("/%s", text);
	return *ret ? 0 : mvm_error_oom(err);
}

static int get_stop_signal(const struct json_at *at, struct oci_config *ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;

	int r = json_get_string(at, "StopSignal", JSON_NULLABLE, &text, err);
	if (r <= 0 || !*text)
		return r < 0 ? r : 0;
	ret->stop_signal = signal_parse(text);
	if (!ret->stop_signal)
		strv_addf(&ret->notes,
			  "the image's StopSignal '%.40s' is no signal: stop sends SIGTERM", text);
	return 0;
}

/* Read Entrypoint and Cmd.  As in container tools, an Entrypoint of one empty word is none. */
static int get_command(const struct json_at *at, struct oci_config *ret, struct mvm_error *err)
{
	int r = get_words(at, "Entrypoint", WORDS_MAX, &ret->command, err);
	if (r == 0 && ret->command.n == 1 && !*ret->command.v[0])
		strv_done(&ret->command);
	if (r == 0)
		r = get_words(at, "Cmd", (size_t)2 * WORDS_MAX, &ret->command, err);
	if (r == 0 && ret->command.n && !*ret->command.v[0]) {
		strv_done(&ret->command);
		strv_addf(&ret->notes,
			  "the image's Entrypoint and Cmd are not used: their first word, the "
			  "program, is empty");
	}
	return r;
}

static int read_run(const struct json_at *root, struct oci_config *ret, struct mvm_error *err)
{
	struct json_at config;

	int r = json_get_object(root, "config", JSON_NULLABLE, &config, err);
	if (r <= 0)
		return r;
	r = get_command(&config, ret, err);
	if (r == 0)
		r = get_env(&config, &ret->env, err);
	if (r == 0)
		r = get_workdir(&config, &ret->workdir, err);
	if (r == 0)
		r = get_stop_signal(&config, ret, err);
	if (r == 0)
		r = get_text(&config, "User", USER_BYTES_MAX, &ret->user, err);
	return r == 0 && ret->notes.failed ? mvm_error_oom(err) : r;
}

static int read_diff_ids(const struct json_at *root, struct oci_config *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) ids = { 0 };
	struct json_at rootfs;

	int r = json_get_object(root, "rootfs", JSON_REQUIRED, &rootfs, err);
	if (r >= 0)
		r = get_words(&rootfs, "diff_ids", OCI_LAYERS_MAX, &ids, err);
	if (r < 0)
		return r;
	ret->diff_ids = calloc(ids.n ? ids.n : 1, sizeof(*ret->diff_ids));
	if (!ret->diff_ids)
		return mvm_error_oom(err);
	ret->n = ids.n;
	for (size_t i = 0; i < ids.n; i++) {
		r = oci_digest_parse(ids.v[i], &ret->diff_ids[i]);
		if (r < 0)
			return oci_digest_error(&rootfs, "diff_ids", r, ids.v[i], err);
	}
	return 0;
}

static int check_size(size_t len, const char *name, struct mvm_error *err)
{
	return len > OCI_JSON_MAX ? mvm_error_set(err, -EFBIG, "%s: larger than %zu MiB", name,
						  OCI_JSON_MAX >> 20)
				  : 0;
}

int oci_config_parse(const char *text, size_t len, const char *name, struct oci_config *ret,
		     struct mvm_error *err)
{
	AUTO_DONE(oci_config) c = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = check_size(len, name, err);
	if (r == 0)
		r = json_read_object(text, len, name, &doc, &root, err);
	if (r == 0)
		r = get_text(&root, "os", PLATFORM_BYTES_MAX, &c.os, err);
	if (r == 0)
		r = get_text(&root, "architecture", PLATFORM_BYTES_MAX, &c.arch, err);
	if (r == 0)
		r = get_text(&root, "variant", PLATFORM_BYTES_MAX, &c.variant, err);
	if (r == 0)
		r = read_run(&root, &c, err);
	if (r >= 0)
		r = read_diff_ids(&root, &c, err);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct oci_config){ 0 };
	return 0;
}

static int read_saved(const struct json_at *at, struct oci_saved *ret, struct mvm_error *err)
{
	if (!json_is_object(at->value))
		return json_error(at, NULL, err, "expected an object");
	int r = json_get_string(at, "Config", JSON_REQUIRED, &ret->config, err);
	if (r >= 0)
		r = get_words(at, "RepoTags", WORDS_MAX, &ret->tags, err);
	return r < 0 ? r : get_words(at, "Layers", OCI_LAYERS_MAX, &ret->layers, err);
}

int oci_saved_parse(const char *text, size_t len, const char *name, struct oci_saved_list *ret,
		    struct mvm_error *err)
{
	AUTO_DONE(oci_saved_list) l = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, item;

	int r = check_size(len, name, err);
	if (r == 0)
		r = json_read(text, len, name, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, name, doc);
	size_t n = json_array_size(doc);
	if (!json_is_array(doc) || n > OCI_MANIFESTS_MAX)
		return json_error(&root, NULL, err, "expected an array of at most %u images",
				  OCI_MANIFESTS_MAX);
	l.images = calloc(n ? n : 1, sizeof(*l.images));
	if (!l.images)
		return mvm_error_oom(err);
	l.n = n;
	for (size_t i = 0; i < n; i++) {
		json_item(&root, i, &item);
		r = read_saved(&item, &l.images[i], err);
		if (r < 0)
			return r;
	}
	*ret = l;
	l = (struct oci_saved_list){ 0 };
	return 0;
}
