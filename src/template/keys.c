/* SPDX-License-Identifier: Apache-2.0 */
#include "store/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <mvm/key.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "start/context.h"

#define FILE_MAX ((size_t)16384)

void mvm_key_info_free(struct mvm_key_info *info)
{
	if (!info)
		return;
	free(info->name);
	free(info->fingerprint);
	free(info->path);
	free(info->scope);
	free(info->type);
	free(info);
}
DEFINE_LIST_FREE(mvm_key_list_free, mvm_key_info, mvm_key_info_free)
DEFINE_AUTO(mvm_key_info, mvm_key_info_free)

static int give(const struct mvm *mvm, const struct key_info *key, bool trusted,
		struct mvm_key_info **ret, struct mvm_error *err)
{
	AUTO(mvm_key_info) info = calloc(1, sizeof(*info));
	bool failed = false;

	if (!ret)
		return 0;
	if (!info)
		return mvm_error_oom(err);
	info->name = str_dup(key->name, &failed);
	info->fingerprint = str_dup(key->fingerprint, &failed);
	info->path = str_printf("%s/%s/%s.pub", store_path(mvm->store), trusted ? "trust" : "keys",
				key->name);
	info->trusted = trusted;
	info->type = str_dup(key_type_name(key->pub.type), &failed);
	info->scope = str_dup(key->scope[0] ? key->scope : NULL, &failed);
	if (failed || !info->path)
		return mvm_error_oom(err);
	*ret = TAKE_PTR(info);
	return 0;
}

int mvm_key_generate(struct mvm *mvm, const char *name, const char *type, struct mvm_key_info **ret,
		     struct mvm_error *err)
{
	enum key_type kind = KEY_ED25519;
	struct key_info key;

	if (type && key_type_parse(type, &kind) < 0)
		return mvm_error_set(err, -EINVAL, "'%.40s' is no type of keys: ed25519 or p256",
				     type);
	int r = keys_generate(mvm->store, name, kind, &key, err);
	return r < 0 ? r : give(mvm, &key, false, ret, err);
}

int mvm_key_scope_check(const char *scope, struct mvm_error *err)
{
	return key_scope_check(scope, err);
}

int mvm_key_trust(struct mvm *mvm, const char *path, const char *name, const char *scope,
		  struct mvm_key_info **ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	struct public_key pub;
	struct key_info key;

	int r = file_read_at(AT_FDCWD, path, FILE_MAX, &text, NULL);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", path, strerror(-r));
	if (key_parse_public(text, &pub) < 0)
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no public key of Ed25519 or P-256 in PEM", path);
	if (str_empty(scope) && str_starts(text, KEY_SCOPE_LINE)) {
		r = mvm_error_set(err, -EINVAL, "'%s' is trusted for some repositories alone",
				  path);
		return mvm_error_hint(err, r, "name the repositories that the key counts for here");
	}
	r = keys_trust(mvm->store, name, &pub, scope, &key, err);
	return r < 0 ? r : give(mvm, &key, true, ret, err);
}

int mvm_key_untrust(struct mvm *mvm, const char *name, struct mvm_error *err)
{
	return keys_untrust(mvm->store, name, err);
}

int mvm_key_list(struct mvm *mvm, struct mvm_key_info ***ret, size_t *ret_n, struct mvm_error *err)
{
	AUTO_DONE(key_list) own = { 0 }, trusted = { 0 };
	size_t n = 0;

	int r = keys_list(mvm->store, false, &own, err);
	if (r == 0)
		r = keys_list(mvm->store, true, &trusted, err);
	if (r < 0)
		return r;
	struct mvm_key_info **list = calloc(own.n + trusted.n + 1, sizeof(*list));
	if (!list)
		return mvm_error_oom(err);
	for (size_t i = 0; r == 0 && i < own.n; i++)
		r = give(mvm, &own.v[i], false, &list[n++], err);
	for (size_t i = 0; r == 0 && i < trusted.n; i++)
		r = give(mvm, &trusted.v[i], true, &list[n++], err);
	if (r < 0) {
		mvm_key_list_free(list, n);
		return r;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
