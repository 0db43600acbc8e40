/* SPDX-License-Identifier: Apache-2.0 */
/* Removes templates and revisions: renames each into staging, syncs once, then deletes them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "model/name.h"
#include "store/revision.h"
#include "store/store_priv.h"

void removal_done(struct removal *r)
{
	for (size_t i = 0; i < r->staged.n; i++)
		store_remove_staged(r->store, r->staged.v[i]); /* or the next command sweeps it */
	strv_done(&r->staged);
	auto_close(&r->dir_fd);
	*r = (struct removal)REMOVAL_NONE;
}

static int take_away(struct store *s, struct removal *r, const char *name, struct mvm_error *err)
{
	char staged[STAGING_NAME_SIZE];

	int e = store_stage_away(s, r->dir_fd, name, staged);
	if (e < 0) {
		mvm_error_set(err, e, "cannot remove '%s': %s", name, strerror(-e));
		return store_mend(s, e, err);
	}
	r->store = s;
	strv_add(&r->staged, staged); /* without memory, the next command sweeps it */
	return 0;
}

int store_removal_start(struct store *s, const char *id, struct removal *ret, struct mvm_error *err)
{
	AUTO_CLOSE int dir = template_open(s, id, false, err);
	if (dir < 0)
		return dir;
	int artifacts = dir_open_at(dir, "artifacts");
	if (artifacts < 0)
		return mvm_error_set(err, artifacts, "template '%s': %s", id, strerror(-artifacts));
	*ret = (struct removal)REMOVAL_NONE;
	ret->dir_fd = artifacts;
	return 0;
}

int store_removal_add(struct store *s, struct removal *r, const char *revision,
		      struct mvm_error *err)
{
	int e = name_check(NAME_REVISION, revision, err);
	return e < 0 ? e : take_away(s, r, revision, err);
}

int store_removal_commit(struct removal *r, struct mvm_error *err)
{
	int e = r->staged.n ? dir_sync(r->dir_fd) : 0;
	if (e >= 0)
		return 0;
	mvm_error_set(err, e, "a crash may bring the removed files back: %s", strerror(-e));
	return store_mend(r->store, e, err);
}

int store_template_remove(struct store *s, const char *id, struct mvm_error *err)
{
	AUTO_DONE(removal) removal = REMOVAL_NONE;
	AUTO_CLOSE int dir = template_open(s, id, false, err);
	if (dir < 0)
		return dir;
	int r = store_template_may_go(dir, id, err);
	if (r < 0)
		return r;
	removal.dir_fd = fcntl(store_dir(s, STORE_TEMPLATES), F_DUPFD_CLOEXEC, 0);
	if (removal.dir_fd < 0)
		return mvm_error_set(err, -errno, "cannot open the templates: %s", strerror(errno));
	r = take_away(s, &removal, id, err);
	return r < 0 ? r : store_removal_commit(&removal, err);
}
