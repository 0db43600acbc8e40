/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens in the data folder: tokens/NAME.json.  A file is written once, whole, and never changed.
 * So the folder's times tell a server when to read the tokens again.
 */
#include <errno.h>
#include <limits.h>
#include <mvm/token.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/extend.h"
#include "base/file.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "model/name.h"
#include "start/context.h"

#define FILE_MAX	   ((size_t)16384)
#define FILE_END	   ".json"
#define FILE_NAME_SIZE	   (NAME_MAX + 1)
#define SECRET_BYTES	   32u
#define SECRET_LEN	   (2ul * SECRET_BYTES) /* hex digits */
#define PREFIX_LEN	   4u
#define OPTIONS_FIRST_SIZE STRUCT_END(struct mvm_token_options, max_rate)

struct token {
	struct mvm_token_info *info;
	struct mvm_digest digest; /* of the secret's 64 hex digits */
};

struct token_list {
	struct token *v;
	size_t n;
};

static const char *const scopes[] = {
	[MVM_TOKEN_READ] = "read",
	[MVM_TOKEN_EXEC] = "exec",
	[MVM_TOKEN_ADMIN] = "admin",
};

const char *mvm_token_scope_name(enum mvm_token_scope scope)
{
	return (size_t)scope < MVM_ARRAY_SIZE(scopes) ? scopes[scope] : "?";
}

int mvm_token_scope_parse(const char *name, enum mvm_token_scope *ret, struct mvm_error *err)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(scopes); i++) {
		if (!str_eq(name, scopes[i]))
			continue;
		*ret = (enum mvm_token_scope)i;
		return 0;
	}
	return mvm_error_set(err, -EINVAL, "'%.40s' is no scope of a token: read, exec or admin",
			     name ? name : "");
}

void mvm_token_info_free(struct mvm_token_info *info)
{
	if (!info)
		return;
	free(info->name);
	free(info);
}
DEFINE_LIST_FREE(mvm_token_list_free, mvm_token_info, mvm_token_info_free)
DEFINE_AUTO(mvm_token_info, mvm_token_info_free)

static void token_list_done(struct token_list *l)
{
	while (l->n > 0)
		mvm_token_info_free(l->v[--l->n].info);
	free(l->v);
	l->v = NULL;
}
DEFINE_AUTO_DONE(token_list, token_list_done)

/* ---- Files ---- */

static const struct {
	const char *key;
	size_t offset;
} limit_keys[] = {
	{ "instances", offsetof(struct mvm_token_info, max_instances) },
	{ "vcpus", offsetof(struct mvm_token_info, max_vcpus) },
	{ "mem_mib", offsetof(struct mvm_token_info, max_mem_mib) },
	{ "requests_per_s", offsetof(struct mvm_token_info, max_rate) },
};

static int write_text(const struct token *t, char **ret, struct mvm_error *err)
{
	char digest[DIGEST_HEX_SIZE];
	struct json_out out = { 0 };
	json_t *o = json_new(&out), *limits = json_new(&out);

	digest_hex(&t->digest, digest);
	json_put_string(&out, o, "scope", scopes[t->info->scope]);
	json_put_string(&out, o, "sha256", digest);
	json_put_time(&out, o, "created_at", t->info->created_at);
	if (t->info->expires_at)
		json_put_time(&out, o, "expires_at", t->info->expires_at);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(limit_keys); i++) {
		uint32_t n;
		memcpy(&n, (const char *)t->info + limit_keys[i].offset, sizeof(n));
		if (n)
			json_put_u64(&out, limits, limit_keys[i].key, n);
	}
	json_put(&out, o, "limits", limits);
	return json_out_text(&out, o, JSON_TEXT_PRETTY, ret, err);
}

/* A member that this version does not know may be a limit, so such a token is good for nothing. */
static int refuse_unknown(const struct json_at *root, const struct json_at *limits)
{
	static const char *const known[] = { "scope", "sha256", "created_at", "expires_at",
					     "limits" };
	const char *const known_limits[] = { limit_keys[0].key, limit_keys[1].key,
					     limit_keys[2].key, limit_keys[3].key };
	AUTO_JSON json_t *other = NULL;
	AUTO_JSON json_t *other_limits = NULL;

	int r = json_unknown(root, known, MVM_ARRAY_SIZE(known), &other, NULL);
	if (r == 0)
		r = json_unknown(limits, known_limits, MVM_ARRAY_SIZE(known_limits), &other_limits,
				 NULL);
	return r == 0 && (other || other_limits) ? -EBADMSG : r;
}

static int parse(const char *text, size_t len, const char *name, struct mvm_token_info *info,
		 struct mvm_digest *ret_digest)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_FREE char *scope = NULL, *digest = NULL;
	struct json_at root, limits;

	int r = json_read_object(text, len, name, &doc, &root, NULL);
	if (r < 0 || (r = json_get_string(&root, "scope", JSON_REQUIRED, &scope, NULL)) < 0 ||
	    (r = mvm_token_scope_parse(scope, &info->scope, NULL)) < 0 ||
	    (r = json_get_string(&root, "sha256", JSON_REQUIRED, &digest, NULL)) < 0 ||
	    (r = digest_parse(digest, ret_digest)) < 0 ||
	    (r = json_get_time(&root, "created_at", JSON_REQUIRED, &info->created_at, NULL)) < 0 ||
	    (r = json_get_time(&root, "expires_at", JSON_OPTIONAL, &info->expires_at, NULL)) < 0 ||
	    (r = json_get_object(&root, "limits", JSON_REQUIRED, &limits, NULL)) < 0)
		return r;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(limit_keys); i++) {
		uint64_t n = 0;
		r = json_get_u64(&limits, limit_keys[i].key, 1, UINT32_MAX, JSON_OPTIONAL, &n,
				 NULL);
		if (r < 0)
			return r;
		const uint32_t small = (uint32_t)n;
		memcpy((char *)info + limit_keys[i].offset, &small, sizeof(small));
	}
	return refuse_unknown(&root, &limits);
}

static void file_of(const char *name, char ret[FILE_NAME_SIZE])
{
	snprintf(ret, FILE_NAME_SIZE, "%.63s%s", name, FILE_END);
}

/* "ci" of "ci.json"; NULL for a file that has no token's name.  The caller frees it. */
static char *name_of(const char *file)
{
	const size_t len = strlen(file), end = strlen(FILE_END);
	AUTO_FREE char *name = NULL;

	if (len <= end || !str_eq(file + len - end, FILE_END))
		return NULL;
	name = strndup(file, len - end);
	return name && name_valid(NAME_TOKEN, name) ? TAKE_PTR(name) : NULL;
}

/* Read a token's file.  Returns 1; 0: it is none; or -errno when nobody can tell now: who took such
 * a token for none would pass it on to a guest. */
static int load(int dir, const char *file, struct token *ret)
{
	AUTO_FREE char *text = NULL;
	AUTO(mvm_token_info) info = calloc(1, sizeof(*info));
	size_t len;

	if (!info)
		return -ENOMEM;
	info->name = name_of(file);
	if (!info->name)
		return 0;
	int r = file_read_at(dir, file, FILE_MAX, &text, &len);
	if (r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -EIO)
		return r;
	if (r < 0 || parse(text, len, file, info, &ret->digest) < 0)
		return 0;
	ret->info = TAKE_PTR(info);
	return 1;
}

static int load_all(struct mvm *mvm, struct token_list *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_DONE(token_list) list = { 0 };

	int r = store_dir_names(mvm->store, STORE_TOKENS, &names, err);
	if (r < 0)
		return r;
	int dir = store_dir(mvm->store, STORE_TOKENS);
	list.v = calloc(names.n + 1, sizeof(*list.v));
	if (!list.v)
		return mvm_error_oom(err);
	for (size_t i = 0; i < names.n && list.n < MVM_TOKENS_MAX; i++) {
		r = load(dir, names.v[i], &list.v[list.n]);
		if (r < 0)
			return mvm_error_set(err, r, "cannot read the token '%s': %s", names.v[i],
					     strerror(-r));
		list.n += (size_t)r;
	}
	token_list_done(ret);
	*ret = list;
	list = (struct token_list){ 0 };
	return 0;
}

/* ---- Add, remove, list ---- */

static int check_options(const struct mvm_token_options *o, struct mvm_error *err)
{
	if ((size_t)o->scope >= MVM_ARRAY_SIZE(scopes))
		return mvm_error_set(err, -EINVAL, "there is no such scope of a token");
	if (o->ttl_ms < 0)
		return mvm_error_set(err, -EINVAL, "a token's time cannot be negative");
	return 0;
}

static void make_secret(char ret[MVM_TOKEN_SECRET_SIZE], struct mvm_digest *ret_digest)
{
	uint8_t bytes[SECRET_BYTES];

	random_bytes(bytes, sizeof(bytes));
	str_hex(bytes, sizeof(bytes), stpcpy(ret, "mvm_"));
	explicit_bzero(bytes, sizeof(bytes));
	sha256_buf(ret + PREFIX_LEN, SECRET_LEN, ret_digest);
}

/* A time to live in whole seconds, at least one: the file has no fractions. */
static int64_t expiry(int64_t now, int64_t ttl_ms)
{
	const int64_t max = INT64_C(1) << 36; /* two thousand years */
	int64_t s = ttl_ms / 1000 + (ttl_ms % 1000 > 0);
	if (ttl_ms == 0)
		return 0;
	return now + (s < max ? s : max);
}

static int store_token(struct mvm *mvm, const struct token *t, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_DONE(strv) names = { 0 };
	char file[FILE_NAME_SIZE];

	int r = store_dir_names(mvm->store, STORE_TOKENS, &names, err);
	if (r >= 0 && names.n >= MVM_TOKENS_MAX)
		r = mvm_error_set(err, -ENOSPC, "there are %u tokens already", MVM_TOKENS_MAX);
	if (r >= 0)
		r = write_text(t, &text, err);
	int dir = r < 0 ? r : store_dir_get(mvm->store, STORE_TOKENS, err);
	int scratch = dir < 0 ? dir : store_scratch(mvm->store, err);
	if (scratch < 0)
		return scratch;
	file_of(t->info->name, file);
	r = file_place_at(scratch, dir, file, text, strlen(text), 0600);
	if (r == -EEXIST)
		return mvm_error_set(err, r, "there is a token '%s' already", t->info->name);
	if (r < 0)
		mvm_error_set(err, r, "cannot store the token '%s': %s", t->info->name,
			      strerror(-r));
	return r < 0 ? store_mend(mvm->store, r, err) : 0;
}

int mvm_token_add(struct mvm *mvm, const char *name, const struct mvm_token_options *options,
		  char ret_secret[MVM_TOKEN_SECRET_SIZE], struct mvm_token_info **ret,
		  struct mvm_error *err)
{
	AUTO(mvm_token_info) info = calloc(1, sizeof(*info));
	struct mvm_token_options o;
	char secret[MVM_TOKEN_SECRET_SIZE];
	struct token t = { .info = info };

	int r = mvm_struct_take(&o, sizeof(o), OPTIONS_FIRST_SIZE, options, err);
	if (r == 0)
		r = name_check(NAME_TOKEN, name, err);
	if (r == 0)
		r = check_options(&o, err);
	if (r < 0)
		return r;
	if (!info || !(info->name = strdup(name)))
		return mvm_error_oom(err);
	info->scope = o.scope;
	info->max_instances = o.max_instances;
	info->max_vcpus = o.max_vcpus;
	info->max_mem_mib = o.max_mem_mib;
	info->max_rate = o.max_rate;
	info->created_at = clock_wall_ns() / NS_PER_S;
	info->expires_at = expiry(info->created_at, o.ttl_ms);
	make_secret(secret, &t.digest);
	r = store_token(mvm, &t, err);
	if (r == 0)
		memcpy(ret_secret, secret, sizeof(secret));
	explicit_bzero(secret, sizeof(secret));
	if (r == 0 && ret)
		*ret = TAKE_PTR(info);
	return r;
}

int mvm_token_remove(struct mvm *mvm, const char *name, struct mvm_error *err)
{
	char file[FILE_NAME_SIZE];
	struct token t = { 0 };

	int r = name_check(NAME_TOKEN, name, err);
	int dir = r < 0 ? r : store_dir_get(mvm->store, STORE_TOKENS, err);
	if (dir < 0)
		return dir;
	file_of(name, file);
	if (load(dir, file, &t) <= 0)
		return mvm_error_set(err, -ENOENT, "there is no token '%s'", name);
	mvm_token_info_free(t.info);
	r = unlinkat(dir, file, 0) < 0 ? -errno : dir_sync(dir);
	if (r >= 0)
		return 0;
	mvm_error_set(err, r, "cannot remove the token '%s': %s", name, strerror(-r));
	return store_mend(mvm->store, r, err);
}

int mvm_token_list(struct mvm *mvm, struct mvm_token_info ***ret, size_t *ret_n,
		   struct mvm_error *err)
{
	AUTO_DONE(token_list) all = { 0 };

	int r = load_all(mvm, &all, err);
	if (r < 0)
		return r;
	struct mvm_token_info **list = calloc(all.n + 1, sizeof(*list));
	if (!list)
		return mvm_error_oom(err);
	for (size_t i = 0; i < all.n; i++)
		list[i] = TAKE_PTR(all.v[i].info);
	*ret = list;
	*ret_n = all.n;
	return 0;
}

/* ---- Check ---- */

struct mvm_tokens {
	struct mvm *mvm;
	struct token_list list;
	struct timespec changed; /* the folder's times when the list was read */
	bool settled;		 /* a later change has a later time */
};

int mvm_tokens_open(struct mvm *mvm, struct mvm_tokens **ret, struct mvm_error *err)
{
	struct mvm_tokens *t = calloc(1, sizeof(*t));
	if (!t)
		return mvm_error_oom(err);
	t->mvm = mvm;
	*ret = t;
	return 0;
}

void mvm_tokens_close(struct mvm_tokens *tokens)
{
	if (!tokens)
		return;
	token_list_done(&tokens->list);
	free(tokens);
}

/* A file system's clock is coarse, so a folder that has just changed may change again within one
 * tick: its list counts as read too early, and is read again. */
static int refresh(struct mvm_tokens *t, struct mvm_error *err)
{
	struct stat st;

	int dir = store_dir_get(t->mvm->store, STORE_TOKENS, err);
	if (dir < 0)
		return dir;
	if (fstat(dir, &st) < 0)
		return mvm_error_set(err, -errno, "cannot look at the tokens: %s", strerror(errno));
	if (t->settled && st.st_ctim.tv_sec == t->changed.tv_sec &&
	    st.st_ctim.tv_nsec == t->changed.tv_nsec)
		return 0;
	const int64_t now = clock_wall_ns() / NS_PER_S;
	int r = load_all(t->mvm, &t->list, err);
	if (r < 0)
		return r;
	t->changed = st.st_ctim;
	t->settled = st.st_ctim.tv_sec + 1 < now;
	return 0;
}

int mvm_tokens_find(struct mvm_tokens *tokens, const char *secret, size_t len,
		    const struct mvm_token_info **ret, struct mvm_error *err)
{
	const struct mvm_token_info *found = NULL;
	struct mvm_digest digest;

	int r = refresh(tokens, err);
	if (r < 0)
		return r;
	if (len == SECRET_LEN + PREFIX_LEN &&
	    (memcmp(secret, "mvm_", PREFIX_LEN) == 0 || memcmp(secret, "e2b_", PREFIX_LEN) == 0)) {
		secret += PREFIX_LEN;
		len -= PREFIX_LEN;
	}
	if (len != SECRET_LEN)
		return mvm_error_set(err, -EACCES, "this is no token of this server");
	sha256_buf(secret, len, &digest);
	for (size_t i = 0; i < tokens->list.n; i++) {
		const struct token *t = &tokens->list.v[i];
		if (str_eq_secret(t->digest.bytes, digest.bytes, sizeof(digest.bytes)))
			found = t->info;
	}
	if (!found)
		return mvm_error_set(err, -EACCES, "this is no token of this server");
	if (found->expires_at && found->expires_at <= clock_wall_ns() / NS_PER_S)
		return mvm_error_set(err, -EACCES, "the token '%s' has expired", found->name);
	*ret = found;
	return 0;
}
