/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <mvm/revisions.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "store/gc.h"
#include "template/history.h"
#include "template/spec_rules.h"

void mvm_prune_result_done(struct mvm_prune_result *result)
{
	for (size_t i = 0; i < result->n_revisions; i++) {
		free(result->revisions[i].template_id);
		free(result->revisions[i].revision);
	}
	free(result->revisions);
	*result = (struct mvm_prune_result){ 0 };
}

struct run {
	struct mvm *mvm;
	const struct mvm_prune_options *options;
	const struct mvm_progress *progress;
	struct mvm_prune_result *result;
	struct gc *gc;
	int64_t before_ns; /* only what was built before this */
};

static int add_pruned(struct run *run, const char *id, const struct history_entry *e,
		      uint64_t bytes)
{
	struct mvm_prune_result *result = run->result;
	bool failed = false;
	struct mvm_pruned_revision *grown = reallocarray(result->revisions, result->n_revisions + 1,
							 sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	result->revisions = grown;
	grown[result->n_revisions++] = (struct mvm_pruned_revision){
		.template_id = str_dup(id, &failed),
		.revision = str_dup(e->name, &failed),
		.built_at = e->problem ? 0 : e->rev.built_at,
		.disk_bytes = bytes,
	};
	result->freed_bytes += bytes;
	return failed ? -ENOMEM : 0;
}

/* Apart from leases: the i-th newest. */
static bool may_go(const struct run *run, const struct history *h, size_t i)
{
	const struct history_entry *e = &h->v[i];

	if (i < run->options->keep || strcmp(e->name, h->current) == 0)
		return false;
	if (e->problem && e->code != -EBADMSG) /* from a newer mvm, or unreadable just now */
		return false;
	return e->built_ns < run->before_ns;
}

static int remove_one(struct run *run, const char *id, const struct history_entry *e,
		      struct mvm_error *err)
{
	struct store *s = run->mvm->store;
	bool dry = run->options->dry_run;
	uint64_t bytes = 0;

	AUTO_CLOSE int claim = dry ? -1 : store_claim_revision(s, id, e->name);
	if (claim == -EBUSY || (dry && store_revision_in_use(s, id, e->name))) {
		run->result->n_in_use++;
		return 0;
	}
	if (!dry && claim < 0)
		return mvm_error_set(err, claim, "cannot claim %s@%s: %s", id, e->name,
				     strerror(-claim));
	AUTO_CLOSE int dir_fd = store_revision_open(s, id, e->name, err);
	int r = dir_fd < 0 ? dir_fd : gc_count_revision(run->gc, dir_fd, &bytes, err);
	if (dir_fd >= 0)
		(void)close(TAKE_FD(dir_fd)); /* who has it open keeps its files */
	if (r == 0 && !dry)
		r = store_revision_remove(s, id, e->name, err);
	if (r < 0)
		return r;
	return add_pruned(run, id, e, bytes) < 0 ? mvm_error_oom(err) : 0;
}

static int prune_history(struct run *run, const char *id, struct mvm_error *err)
{
	AUTO_DONE(history) h = { 0 };

	int r = history_load(run->mvm, id, &h, err);
	for (size_t i = 0; r == 0 && i < h.n; i++) {
		if (may_go(run, &h, i))
			r = remove_one(run, id, &h.v[i], err);
	}
	return r;
}

/* Could there be something to do?  Saves reading revisions and taking locks. */
static bool has_more_than_kept(struct run *run, const char *id)
{
	AUTO_DONE(strv) names = { 0 };
	return store_revision_list(run->mvm->store, id, &names, NULL) == 0 &&
	       names.n > run->options->keep;
}

static int prune_template(struct run *run, const char *id, struct mvm_error *err)
{
	AUTO_CLOSE int lock_fd = -1;

	if (!has_more_than_kept(run, id))
		return 0;
	if (!run->options->dry_run) {
		lock_fd = template_lock(run->mvm, id, "template prune", true, NULL, err);
		if (lock_fd == -EBUSY && !run->options->id) {
			progress_note(run->progress, "%s, so its revisions stay", err->text);
			return 0;
		}
		if (lock_fd < 0)
			return lock_fd;
	}
	return prune_history(run, id, err);
}

static int choose(struct run *run, struct strv *ret, struct mvm_error *err)
{
	const char *id = run->options->id;
	AUTO_DONE(strv) all = { 0 };

	int r = store_template_list(run->mvm->store, &all, err);
	if (r < 0)
		return r;
	if (!id) {
		*ret = all;
		all = (struct strv){ 0 };
		return 0;
	}
	if (!strv_has(&all, id)) {
		r = mvm_error_set(err, -ENOENT, "no template '%s'", id);
		return mvm_error_hint(err, r, "see 'mvm template list'");
	}
	strv_add(ret, id);
	return ret->failed ? mvm_error_oom(err) : 0;
}

int mvm_template_prune(struct mvm *mvm, const struct mvm_prune_options *options,
		       const struct mvm_progress *progress, struct mvm_prune_result *ret,
		       struct mvm_error *err)
{
	AUTO_DONE(strv) ids = { 0 };
	AUTO_DONE(gc) gc = { .store = mvm->store, .dry_run = options->dry_run };
	struct mvm_error local = { 0 };
	struct run run = {
		.mvm = mvm,
		.options = options,
		.progress = progress,
		.result = ret,
		.gc = &gc,
		.before_ns = options->older_than_s
				     ? clock_wall_ns() - options->older_than_s * NS_PER_S
				     : INT64_MAX,
	};

	*ret = (struct mvm_prune_result){ 0 };
	if (!err)
		err = &local;
	int r = choose(&run, &ids, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		r = prune_template(&run, ids.v[i], err);
		if (r == -ENOENT)
			r = 0; /* deleted meanwhile */
	}
	if (r == 0)
		r = gc_collect(&gc, err);
	ret->n_cached = gc.n_cached;
	ret->n_blobs = gc.n_blobs;
	ret->freed_bytes += gc.freed_bytes;
	return r;
}
