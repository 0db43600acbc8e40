/* SPDX-License-Identifier: Apache-2.0 */
/* Logins at registries, checked there before they are kept. */
#include "pull/login.h"

#include <errno.h>
#include <mvm/registry.h>
#include <string.h>

#include "base/extend.h"
#include "model/image_ref.h"
#include "model/strings.h"
#include "start/context.h"

#define PASSWORD_MAX 8192u

void mvm_login_info_free(struct mvm_login_info *info)
{
	if (!info)
		return;
	free(info->host);
	free(info->user);
	free(info->file);
	free(info->program);
	free(info);
}
DEFINE_AUTO(mvm_login_info, mvm_login_info_free)

/* The host as references have it.  free(3) *ret. */
static int take_host(const char *text, char **ret, struct mvm_error *err)
{
	AUTO_DONE(image_ref) ref = { 0 };
	AUTO_FREE char *as_ref = str_printf("%s/x/x", text);

	if (!as_ref)
		return mvm_error_oom(err);
	if (!*text || strpbrk(text, "/@") || image_ref_parse(as_ref, &ref, NULL) < 0 ||
	    !str_eq(ref.path, "x/x"))
		return mvm_error_set(err, -EINVAL,
				     "'%.200s' is no registry: write HOST or HOST:PORT", text);
	*ret = TAKE_PTR(ref.host);
	return 0;
}

int mvm_registry_check(const char *host, struct mvm_error *err)
{
	AUTO_FREE char *name = NULL;
	return take_host(host, &name, err);
}

static int check_user(const char *user, const char *password, struct mvm_error *err)
{
	if (!*user || strchr(user, ':'))
		return mvm_error_set(err, -EINVAL,
				     "a user name has at least one character, and no colon");
	if (!*password || strlen(password) > PASSWORD_MAX)
		return mvm_error_set(err, -EINVAL, "a password has 1 to %u bytes", PASSWORD_MAX);
	return 0;
}

/* Takes the host over. */
static int give(char *host, const struct credentials *who, struct login_place *place, bool checked,
		struct mvm_login_info **ret, struct mvm_error *err)
{
	AUTO(mvm_login_info) info = calloc(1, sizeof(*info));
	bool failed = !info;

	if (!info) {
		free(host);
		return mvm_error_oom(err);
	}
	info->host = host;
	info->user = str_dup(who->user, &failed);
	info->file = TAKE_PTR(place->file);
	info->program = TAKE_PTR(place->program);
	info->checked = checked;
	if (failed)
		return mvm_error_oom(err);
	if (ret)
		*ret = TAKE_PTR(info);
	return 0;
}

int mvm_registry_login(struct mvm *mvm, const char *host, const char *user, const char *password,
		       const struct mvm_progress *progress, struct mvm_login_info **ret,
		       struct mvm_error *err)
{
	AUTO_DONE(credentials) who = { 0 };
	AUTO_DONE(login_place) place = { 0 };
	AUTO_FREE char *name = NULL;
	struct progress_watch watch;
	bool failed = false;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = take_host(host, &name, err);
	if (r == 0)
		r = check_user(user, password, err);
	if (r < 0)
		return r;
	who.user = str_dup(user, &failed);
	who.password = str_dup(password, &failed);
	if (failed)
		return mvm_error_oom(err);
	int checked = login_check(store_path(mvm->store), name, &who, progress, err);
	r = checked < 0 ? checked : login_store(name, &who, progress, &place, err);
	return r < 0 ? r : give(TAKE_PTR(name), &who, &place, checked, ret, err);
}

int mvm_registry_logout(struct mvm *mvm, const char *host, const struct mvm_progress *progress,
			struct mvm_strings *ret_files, struct mvm_error *err)
{
	AUTO_DONE(strv) files = { 0 };
	AUTO_FREE char *name = NULL;
	struct progress_watch watch;
	(void)mvm;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = take_host(host, &name, err);
	if (r == 0)
		r = login_forget(name, progress, &files, err);
	if (r < 0)
		return r;
	if (files.n == 0)
		return mvm_error_set(err, -ENOENT, "there is no login for %s", name);
	return ret_files && strings_take(&files, ret_files) < 0 ? mvm_error_oom(err) : 0;
}
