/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <mvm/instance.h>
#include <mvm/store.h>
#include <string.h>

#include "base/error.h"
#include "store/revision.h"
#include "template/spec_rules.h"

/* Claims on all revisions of a template, held until it is gone. */
struct claims {
	int *fds;
	size_t n;
};

static void claims_done(struct claims *c)
{
	for (size_t i = 0; i < c->n; i++)
		(void)close(c->fds[i]);
	free(c->fds);
}
DEFINE_AUTO_DONE(claims, claims_done)

/* The name of an instance that uses a revision, or NULL. */
static char *find_user(struct mvm *mvm, const char *id, const char *revision)
{
	struct mvm_instance_info **all = NULL;
	char *name = NULL;
	size_t n = 0;

	if (mvm_instance_list(mvm, &all, &n, NULL) < 0)
		return NULL; /* then the error names the revision only */
	for (size_t i = 0; i < n; i++) {
		if (!name && str_eq(all[i]->template_id, id) &&
		    str_eq(all[i]->revision, revision) && !all[i]->ended_at)
			name = strdup(all[i]->name);
		mvm_instance_info_free(all[i]);
	}
	free(all);
	return name;
}

static int in_use(struct mvm *mvm, const char *id, const char *revision, struct mvm_error *err)
{
	AUTO_FREE char *user = find_user(mvm, id, revision);
	int r = user ? mvm_error_set(err, -EBUSY, "instance '%s' runs from %s@%.12s", user, id,
				     revision)
		     : mvm_error_set(err, -EBUSY, "%s@%.12s is in use", id, revision);
	return mvm_error_hint(err, r, "stop it first: see 'mvm ps' and 'mvm stop'");
}

static int claim_all(struct mvm *mvm, const char *id, struct claims *c, struct mvm_error *err)
{
	AUTO_DONE(strv) revisions = { 0 };

	int r = store_revision_list(mvm->store, id, &revisions, err);
	if (r < 0)
		return r;
	c->fds = calloc(revisions.n + 1, sizeof(*c->fds));
	if (!c->fds)
		return mvm_error_oom(err);
	for (size_t i = 0; i < revisions.n; i++) {
		int fd = store_claim_revision(mvm->store, id, revisions.v[i]);
		if (fd == -EBUSY)
			return in_use(mvm, id, revisions.v[i], err);
		if (fd < 0)
			return mvm_error_set(err, fd, "cannot claim %s@%s: %s", id, revisions.v[i],
					     strerror(-fd));
		c->fds[c->n++] = fd;
	}
	return 0;
}

int mvm_template_delete(struct mvm *mvm, const char *id, const struct mvm_progress *progress,
			struct mvm_error *err)
{
	AUTO_DONE(claims) claims = { 0 };
	AUTO_DONE(strv) all = { 0 };

	int r = store_template_list(mvm->store, &all, err);
	if (r < 0)
		return r;
	if (!strv_has(&all, id)) { /* before a lock file is made for it */
		r = mvm_error_set(err, -ENOENT, "no template '%s'", id);
		return mvm_error_hint(err, r, "see 'mvm template list'");
	}
	AUTO_CLOSE int lock_fd = template_lock(mvm, id, "template delete", false, progress, err);
	if (lock_fd < 0)
		return lock_fd;
	r = claim_all(mvm, id, &claims, err);
	if (r == 0)
		r = store_template_remove(mvm->store, id, err);
	return r < 0 ? mvm_error_context(err, r, "template '%s'", id) : 0;
}
