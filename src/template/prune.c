/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <mvm/revisions.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/extend.h"
#include "base/progress.h"
#include "store/gc.h"
#include "template/budget.h"
#include "template/history.h"
#include "template/holder.h"
#include "template/spec_rules.h"

#define PRUNE_OPTIONS_FIRST STRUCT_END(struct mvm_prune_options, dry_run)
#define PRUNE_RESULT_FIRST  STRUCT_END(struct mvm_prune_result, freed_bytes)

struct run {
	struct mvm *mvm;
	struct mvm_prune_options options;
	uint32_t keep;
	mvm_pruned_fn fn;
	void *arg;
	const struct mvm_progress *progress;
	struct mvm_prune_result *result;
	struct gc *gc;
	int64_t before_ns; /* only revisions built before this time go */
};

static void report(struct run *run, const char *id, const struct history_entry *e, uint64_t bytes)
{
	const struct mvm_pruned_revision revision = {
		.template_id = id,
		.revision = e->name,
		.built_at = e->built_at,
		.disk_bytes = bytes,
	};

	run->result->n_revisions++;
	run->result->freed_bytes += bytes;
	if (run->fn)
		run->fn(run->arg, &revision);
}

/* May the i-th newest revision go?  Leases are checked later. */
static bool may_go(const struct run *run, const struct history *h, size_t i)
{
	const struct history_entry *e = &h->v[i];

	if (i < run->keep || strcmp(e->name, h->current) == 0)
		return false;
	if (e->code < 0 && e->code != -EBADMSG) /* from a newer mvm, or unreadable just now */
		return false;
	return e->built_ns < run->before_ns;
}

/* 1, 0 or -errno. */
static int is_suspended(struct run *run, const char *id, const char *revision,
			struct mvm_error *err)
{
	AUTO_FREE char *holder = NULL;
	int r = holder_find(run->mvm, id, revision, &holder, err);
	if (holder)
		progress_note(run->progress, "%s@%s stays: instance '%s' is suspended and needs it",
			      id, revision, holder);
	return r < 0 ? r : holder != NULL;
}

/* removal is NULL in a dry run. */
static int remove_one(struct run *run, const char *id, const struct history_entry *e,
		      struct removal *removal, struct mvm_error *err)
{
	struct store *s = run->mvm->store;
	uint64_t bytes = 0;
	int r = 0;

	AUTO_CLOSE int claim = removal ? store_claim_revision(s, id, e->name) : -1;
	if (claim == -EBUSY || (!removal && store_revision_in_use(s, id, e->name))) {
		run->result->n_in_use++;
		return 0;
	}
	if (!removal || claim >= 0)
		r = is_suspended(run, id, e->name, err);
	if (r != 0) {
		run->result->n_in_use += r > 0;
		return r < 0 ? r : 0;
	}
	if (removal && claim < 0) {
		mvm_error_set(err, claim, "cannot claim %s@%s: %s", id, e->name, strerror(-claim));
		return store_mend(s, claim, err);
	}
	AUTO_CLOSE int dir_fd = store_revision_open(s, id, e->name, err);
	if (dir_fd < 0)
		return dir_fd;
	r = store_revision_is_pure(dir_fd);
	if (r == -ENOMEM)
		return mvm_error_oom(err);
	if (r <= 0) {
		progress_note(run->progress,
			      "%s@%s stays: its folder has files that do not belong to a revision",
			      id, e->name);
		return 0;
	}
	r = gc_count_revision(run->gc, dir_fd, &bytes, err);
	if (dir_fd >= 0)
		close(TAKE_FD(dir_fd)); /* an open folder keeps its files */
	if (r == 0 && removal)
		r = store_removal_add(s, removal, e->name, err);
	if (r == 0)
		report(run, id, e, bytes);
	return r;
}

static int prune_history(struct run *run, const char *id, struct mvm_error *err)
{
	AUTO_DONE(history) h = { 0 };
	AUTO_DONE(removal) removal = REMOVAL_NONE;
	bool dry = run->options.dry_run;

	int r = history_load(run->mvm, id, &h, err);
	if (r == 0 && !dry)
		r = store_removal_start(run->mvm->store, id, &removal, err);
	for (size_t i = 0; r == 0 && i < h.n; i++) {
		if (may_go(run, &h, i))
			r = remove_one(run, id, &h.v[i], dry ? NULL : &removal, err);
	}
	return r < 0 || dry ? r : store_removal_commit(&removal, err);
}

/* Can we tell which revision is current?  If not, a prune might remove that one.  Returns 1, or 0
 * with a note, or an error if the user named this template. */
static int knows_current(struct run *run, const char *id, struct mvm_error *err)
{
	char current[MVM_REVISION_SIZE];

	int r = store_current_find(run->mvm->store, id, current, err);
	if (r == 0 || r == -ENOENT) /* no revision is current */
		return 1;
	if (r == -ENOMEM || run->options.id)
		return r;
	progress_note(run->progress, "%s, so its revisions stay", err->text);
	return 0;
}

/* Could there be something to remove?  Asking first saves reading revisions and taking locks. */
static bool has_more_than_kept(struct run *run, const char *id)
{
	AUTO_DONE(strv) names = { 0 };
	return store_revision_list(run->mvm->store, id, &names, NULL) == 0 && names.n > run->keep;
}

static int prune_template(struct run *run, const char *id, struct mvm_error *err)
{
	AUTO_CLOSE int lock_fd = -1;

	if (!has_more_than_kept(run, id))
		return 0;
	if (!run->options.dry_run) {
		lock_fd = template_lock(run->mvm, id, "template prune", true, NULL, err);
		if (lock_fd == -EBUSY && !run->options.id) {
			progress_note(run->progress, "%s, so its revisions stay", err->text);
			return 0;
		}
		if (lock_fd < 0)
			return lock_fd;
	}
	int r = knows_current(run, id, err);
	return r <= 0 ? r : prune_history(run, id, err);
}

static int choose(struct run *run, struct strv *ret, struct mvm_error *err)
{
	const char *id = run->options.id;

	if (!id)
		return store_template_list(run->mvm->store, ret, err);
	int r = mvm_template_exists(run->mvm, id, err);
	if (r == 0) {
		r = mvm_error_set(err, -ENOENT, "no template '%s'", id);
		return mvm_error_reason(err, r, "no-template", id);
	}
	if (r < 0)
		return r;
	strv_add(ret, id);
	return ret->failed ? mvm_error_oom(err) : 0;
}

/* Add each revision of a template to the budget, and whether it may go. */
static int weigh_template(struct run *run, const char *id, struct budget *b, struct mvm_error *err)
{
	AUTO_DONE(history) h = { 0 };
	struct store *s = run->mvm->store;

	int r = history_load(run->mvm, id, &h, err);
	for (size_t i = 0; r == 0 && i < h.n; i++) {
		const struct history_entry *e = &h.v[i];
		AUTO_CLOSE int dir_fd = store_revision_open(s, id, e->name, NULL);
		if (dir_fd < 0)
			continue;
		r = budget_add(b, dir_fd, e->built_ns,
			       may_go(run, &h, i) && !store_revision_in_use(s, id, e->name));
		if (r < 0)
			return mvm_error_oom(err);
	}
	return r;
}

/* Only so many revisions go as max_bytes asks for. */
static int keep_to_budget(struct run *run, const struct strv *ids, struct mvm_error *err)
{
	AUTO_DONE(budget) b = { 0 };
	int64_t before_ns;
	char left[24], most[24];
	uint64_t bytes;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ids->n; i++) {
		r = weigh_template(run, ids->v[i], &b, err);
		if (r == -ENOENT)
			r = 0; /* deleted meanwhile */
	}
	if (r < 0)
		return r;
	budget_find(&b, run->options.max_bytes, &before_ns, &bytes);
	if (before_ns < run->before_ns)
		run->before_ns = before_ns;
	if (bytes <= run->options.max_bytes)
		return 0;
	str_bytes(bytes, left, sizeof(left));
	str_bytes(run->options.max_bytes, most, sizeof(most));
	progress_note(run->progress, "the revisions that stay take %s, more than %s", left, most);
	return 0;
}

static int prune_all(struct run *run, struct mvm_error *err)
{
	AUTO_DONE(strv) ids = { 0 };

	int r = choose(run, &ids, err);
	if (r == 0 && run->options.max_bytes)
		r = keep_to_budget(run, &ids, err);
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		r = progress_check(run->progress, err);
		if (r == 0)
			r = prune_template(run, ids.v[i], err);
		if (r == -ENOENT)
			r = 0; /* deleted meanwhile */
	}
	return r == 0 ? gc_collect(run->gc, err) : r;
}

int mvm_template_prune(struct mvm *mvm, const struct mvm_prune_options *options, mvm_pruned_fn fn,
		       void *arg, const struct mvm_progress *progress, struct mvm_prune_result *ret,
		       struct mvm_error *err)
{
	AUTO_DONE(gc) gc = { .store = mvm->store };
	struct mvm_error local = { 0 };
	struct mvm_prune_result result = MVM_PRUNE_RESULT_INIT;
	struct progress_watch watch;
	struct run run = {
		.mvm = mvm,
		.fn = fn,
		.arg = arg,
		.result = &result,
		.gc = &gc,
	};

	if (!err)
		err = &local;
	int r = progress_take(&watch, &progress, err);
	run.progress = gc.progress = progress;
	if (r == 0)
		r = mvm_struct_take(&run.options, sizeof(run.options), PRUNE_OPTIONS_FIRST, options,
				    err);
	if (r < 0)
		return r;
	run.keep = run.options.keep ? *run.options.keep : MVM_PRUNE_KEEP;
	run.before_ns = INT64_MAX;
	if (run.options.older_than_s) { /* nothing is older than the clock's beginning */
		int64_t s = clock_wall_ns() / NS_PER_S;
		s = run.options.older_than_s < s ? run.options.older_than_s : s;
		run.before_ns = clock_wall_ns() - s * NS_PER_S;
	}
	gc.dry_run = run.options.dry_run;
	r = prune_all(&run, err);
	result.n_cached = gc.n_cached;
	result.n_blobs = gc.n_blobs;
	result.freed_bytes += gc.freed_bytes;
	if (ret)
		mvm_struct_give(ret, PRUNE_RESULT_FIRST, &result, sizeof(result));
	return r;
}
