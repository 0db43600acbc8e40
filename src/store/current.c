/* SPDX-License-Identifier: Apache-2.0 */
/* Which revision of a template is current, and which one a reference names. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "model/name.h"
#include "store/revision.h"
#include "store/store_priv.h"

int store_current_set(struct store *s, const char *id, const char *revision, struct mvm_error *err)
{
	char target[MVM_REVISION_SIZE + 16];

	AUTO_CLOSE int rev_fd = store_revision_open(s, id, revision, err);
	if (rev_fd < 0)
		return rev_fd;
	AUTO_CLOSE int dir = template_open(s, id, false, err);
	if (dir < 0)
		return dir;
	int scratch = store_scratch(s, err);
	if (scratch < 0)
		return scratch;
	snprintf(target, sizeof(target), "artifacts/%s", revision);
	int r = link_replace_at(scratch, dir, "current", target);
	if (r < 0)
		mvm_error_set(err, r, "cannot make '%s' the current revision of '%s': %s", revision,
			      id, strerror(-r));
	return store_mend(s, r, err);
}

int store_current_get(struct store *s, const char *id, char ret[MVM_REVISION_SIZE],
		      struct mvm_error *err)
{
	char target[MVM_REVISION_SIZE + 32], path[MVM_TEMPLATE_ID_SIZE + 16];

	int r = name_check(NAME_TEMPLATE, id, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/current", id);
	int templates = store_dir(s, STORE_TEMPLATES);
	if (templates == -ENOENT)
		return store_no_template(id, err);
	if (templates < 0)
		return store_dir_failed(s, STORE_TEMPLATES, templates, err);
	ssize_t n = readlinkat(templates, path, target, sizeof(target) - 1);
	if (n < 0 && errno == ENOENT) {
		AUTO_CLOSE int dir = template_open(s, id, false, err);
		if (dir < 0)
			return dir; /* no such template */
		mvm_error_set(err, -ENOENT, "template '%s' has not been built", id);
		return mvm_error_reason(err, -ENOENT, "template-not-built", id);
	}
	if (n < 0)
		return mvm_error_set(err, -errno, "template '%s': cannot read its current link: %s",
				     id, strerror(errno));
	target[n] = '\0';
	const char *revision = target + strlen("artifacts/"); /* "revisions/" is as long */
	if ((!str_starts(target, "artifacts/") && !str_starts(target, "revisions/")) ||
	    !name_valid(NAME_REVISION, revision))
		return mvm_error_set(err, -EBADMSG,
				     "template '%s': its current link names no revision: '%s'", id,
				     target);
	memcpy(ret, revision, strlen(revision) + 1);
	return 0;
}

int store_current_find(struct store *s, const char *id, char ret[MVM_REVISION_SIZE],
		       struct mvm_error *err)
{
	char path[MVM_TEMPLATE_ID_SIZE + MVM_REVISION_SIZE + 16], revision[MVM_REVISION_SIZE];
	char missing[MVM_REVISION_SIZE] = "";

	for (;;) {
		int r = store_current_get(s, id, revision, err);
		if (r < 0)
			return r;
		snprintf(path, sizeof(path), "%s/artifacts/%s", id, revision);
		if (faccessat(store_dir(s, STORE_TEMPLATES), path, F_OK, AT_SYMLINK_NOFOLLOW) ==
		    0) {
			memcpy(ret, revision, sizeof(revision));
			return 0;
		}
		if (errno != ENOENT)
			return mvm_error_set(err, -errno, "template '%s': revision '%s': %s", id,
					     revision, strerror(errno));
		if (strcmp(missing, revision) == 0)
			break;
		/* another revision may have become current, and this one may have been pruned */
		memcpy(missing, revision, sizeof(revision));
	}
	mvm_error_set(err, -EBADMSG, "template '%s': its current revision '%s' is missing", id,
		      revision);
	return mvm_error_reason(err, -EBADMSG, "current-damaged", id);
}

#define PREFIX_MIN 4

static int find_revision(struct store *s, const char *id, const char *wanted,
			 char ret[MVM_REVISION_SIZE], struct mvm_error *err)
{
	AUTO_DONE(strv) all = { 0 };
	const char *found = NULL;

	int r = name_check(NAME_REVISION, wanted, err);
	if (r >= 0)
		r = store_revision_list(s, id, &all, err);
	if (r < 0)
		return r;
	if (strv_has(&all, wanted)) {
		memcpy(ret, wanted, strlen(wanted) + 1);
		return 0;
	}
	for (size_t i = 0; i < all.n && strlen(wanted) >= PREFIX_MIN; i++) {
		if (!str_starts(all.v[i], wanted))
			continue;
		if (found)
			return mvm_error_set(err, -EINVAL,
					     "template '%s' has several revisions that begin with "
					     "'%s'",
					     id, wanted);
		found = all.v[i];
	}
	if (!found) {
		mvm_error_set(err, -ENOENT, "template '%s' has no revision '%s'", id, wanted);
		return mvm_error_reason(err, -ENOENT, "no-revision", id);
	}
	memcpy(ret, found, strlen(found) + 1);
	return 0;
}

int store_template_resolve(struct store *s, const char *name, char ret_id[MVM_TEMPLATE_ID_SIZE],
			   char ret_revision[MVM_REVISION_SIZE], struct mvm_error *err)
{
	char revision[MVM_REVISION_SIZE];
	size_t id_len = strcspn(name, "@");
	AUTO_FREE char *id = strndup(name, id_len);

	if (!id)
		return mvm_error_oom(err);
	int r = name_check(NAME_TEMPLATE, id, err);
	if (r < 0)
		return r;
	r = name[id_len] ? find_revision(s, id, name + id_len + 1, revision, err)
			 : store_current_find(s, id, revision, err);
	if (r < 0)
		return r;
	memcpy(ret_id, id, id_len + 1);
	memcpy(ret_revision, revision, sizeof(revision));
	return 0;
}
