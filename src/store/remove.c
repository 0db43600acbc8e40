/* SPDX-License-Identifier: Apache-2.0 */
/* Taking templates and revisions away: one rename into staging, which is then removed. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "model/name.h"
#include "store/revision.h"
#include "store/store_priv.h"

/* The name is gone from disk when this returns; what it named goes with the staging. */
static int take_away(struct store *s, int dir_fd, const char *name, struct mvm_error *err)
{
	AUTO_DONE(staging) st = STAGING_NONE;

	int r = store_stage(s, &st, err);
	if (r < 0)
		return r;
	/* over the empty staging folder, so that sweepers see readers' locks (store_revision_open)
	 */
	if (renameat(dir_fd, name, st.tmp_fd, st.name) < 0)
		r = -errno;
	else
		r = dir_sync(dir_fd);
	return r < 0 ? mvm_error_set(err, r, "cannot remove '%s': %s", name, strerror(-r)) : 0;
}

int store_template_remove(struct store *s, const char *id, struct mvm_error *err)
{
	AUTO_CLOSE int dir = template_open(s, id, false, err);
	return dir < 0 ? dir : take_away(s, store_dir(s, STORE_TEMPLATES), id, err);
}

int store_revision_remove(struct store *s, const char *id, const char *revision,
			  struct mvm_error *err)
{
	AUTO_CLOSE int rev = store_revision_open(s, id, revision, err);
	if (rev < 0)
		return rev;
	(void)close(TAKE_FD(rev)); /* else we would be a reader ourselves */
	AUTO_CLOSE int dir = template_open(s, id, false, err);
	if (dir < 0)
		return dir;
	AUTO_CLOSE int artifacts = dir_open_at(dir, "artifacts");
	if (artifacts < 0)
		return mvm_error_set(err, artifacts, "template '%s': %s", id, strerror(-artifacts));
	return take_away(s, artifacts, revision, err);
}
