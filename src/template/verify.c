/* SPDX-License-Identifier: Apache-2.0 */
#include "store/verify.h"
#include "store/trust.h"

#include <errno.h>
#include <mvm/revisions.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/progress.h"
#include "model/model_json.h"
#include "start/context.h"

/* Keep the first n problems and forget the rest. */
static void forget_problems(struct mvm_verify_result *result, size_t n)
{
	while (result->n_problems > n) {
		struct mvm_verify_problem *p = result->problems[--result->n_problems];
		free(p->template_id);
		free(p->revision);
		free(p->file);
		free(p->text);
		free(p);
	}
}

void mvm_verify_result_free(struct mvm_verify_result *result)
{
	if (!result)
		return;
	forget_problems(result, 0);
	free(result->problems);
	free(result);
}
DEFINE_AUTO(mvm_verify_result, mvm_verify_result_free)

/* One verification, and the revision that it has reached. */
struct run {
	struct mvm *mvm;
	struct mvm_verify_result *result;
	struct verify files;
	const char *id, *revision;
};

static int add_problem(struct run *run, const char *file, const char *text)
{
	struct mvm_verify_result *result = run->result;
	bool failed = false;
	struct mvm_verify_problem **grown = reallocarray(result->problems, result->n_problems + 1,
							 sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	result->problems = grown;
	struct mvm_verify_problem *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	grown[result->n_problems++] = p;
	*p = (struct mvm_verify_problem){
		.template_id = str_dup(run->id, &failed),
		.revision = str_dup(run->revision, &failed),
		.file = str_dup(file, &failed),
		.text = str_dup(text, &failed),
	};
	return failed ? -ENOMEM : 0;
}

static int file_problem(void *arg, const char *file, const char *text)
{
	return add_problem(arg, file, text);
}

/* Is the revision still the folder that we read?  A new snapshot exchanges the folder, a prune
 * removes it, and both leave the old folder empty. */
static bool is_still(struct run *run, int dir_fd)
{
	struct stat a, b;
	AUTO_CLOSE int now = store_revision_open(run->mvm->store, run->id, run->revision, NULL);
	return now >= 0 && fstat(dir_fd, &a) == 0 && fstat(now, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static int check_once(struct run *run, bool *ret_moved)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	struct mvm_error why = { 0 };
	size_t before = run->result->n_problems;

	*ret_moved = false;
	AUTO_CLOSE int dir_fd = store_revision_open(run->mvm->store, run->id, run->revision, &why);
	if (dir_fd == -ENOENT)
		return 0; /* pruned meanwhile */
	if (dir_fd < 0)
		return add_problem(run, NULL, why.text);
	int r = store_revision_load(run->mvm->store, run->id, run->revision, &rev, NULL, &why);
	if (r < 0)
		r = r == -ENOMEM ? r : add_problem(run, "revision.json", why.text);
	if (r == 0)
		r = store_verify_revision(dir_fd, &run->files);
	if (r == 0 && run->result->n_problems > before) {
		*ret_moved = !is_still(run, dir_fd);
		if (*ret_moved)
			forget_problems(run->result, before);
		else
			store_distrust(dir_fd);
	}
	return r;
}

static int check_revision(struct run *run, const char *revision)
{
	bool moved = true;
	int r = 0;

	run->revision = revision;
	/* three tries: no revision is replaced three times by accident */
	for (int i = 0; i < 3 && moved && r == 0; i++)
		r = check_once(run, &moved);
	run->revision = NULL;
	run->result->n_revisions++;
	return r;
}

/* Check the template itself: its spec and its link `current`. */
static int check_template(struct run *run)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	char current[MVM_REVISION_SIZE];
	struct mvm_error why = { 0 };

	run->result->n_templates++;
	int r = store_spec_load(run->mvm->store, run->id, &spec, &why);
	if (r == -ENOMEM)
		return r;
	if (r < 0 && r != -ENOENT)
		r = add_problem(run, "template.json", why.text);
	if (r < 0)
		return 0; /* deleted meanwhile */
	r = store_current_find(run->mvm->store, run->id, current, &why);
	/* -ENOENT: not built yet */
	return r < 0 && r != -ENOENT ? add_problem(run, "current", why.text) : 0;
}

/* List all revisions of a template, or only the named one. */
static int revisions_of(struct run *run, const char *only, struct strv *ret)
{
	if (only) {
		strv_add(ret, only);
		return ret->failed ? -ENOMEM : 0;
	}
	struct mvm_error why = { 0 };
	int r = store_revision_list(run->mvm->store, run->id, ret, &why);
	if (r == -ENOENT)
		return 0; /* deleted meanwhile */
	return r < 0 && r != -ENOMEM ? add_problem(run, NULL, why.text) : r;
}

/* First pass: count how much there is to read. */
static int count(struct run *run, const struct strv *ids, const char *only)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < ids->n; i++) {
		AUTO_DONE(strv) revisions = { 0 };
		run->id = ids->v[i];
		if (!only && store_revision_list(run->mvm->store, run->id, &revisions, NULL) < 0)
			continue; /* the second pass says why */
		if (only)
			strv_add(&revisions, only);
		for (size_t k = 0; k < revisions.n; k++) {
			AUTO_CLOSE int fd = store_revision_open(run->mvm->store, run->id,
								revisions.v[k], NULL);
			if (fd >= 0)
				store_verify_count(fd, &run->files);
		}
		r = revisions.failed ? -ENOMEM : 0;
	}
	return r;
}

static int check_all(struct run *run, const struct strv *ids, const char *only)
{
	int r = count(run, ids, only);
	for (size_t i = 0; r == 0 && i < ids->n; i++) {
		AUTO_DONE(strv) revisions = { 0 };
		run->id = ids->v[i];
		r = check_template(run);
		if (r == 0)
			r = revisions_of(run, only, &revisions);
		for (size_t k = 0; r == 0 && k < revisions.n; k++)
			r = check_revision(run, revisions.v[k]);
	}
	return r;
}

/* Choose the templates, and the one revision if the user named one. */
static int choose(struct mvm *mvm, const char *ref, struct strv *ret_ids,
		  char ret_only[MVM_REVISION_SIZE], struct mvm_error *err)
{
	char id[MVM_TEMPLATE_ID_SIZE];

	int r = store_template_list(mvm->store, ret_ids, err);
	if (r < 0 || !ref)
		return r;
	size_t len = strcspn(ref, "@");
	if (ref[len]) {
		r = store_template_resolve(mvm->store, ref, id, ret_only, err);
	} else if (strv_has(ret_ids, ref) && len < sizeof(id)) {
		memcpy(id, ref, len + 1);
	} else {
		r = mvm_error_set(err, -ENOENT, "no template '%s'", ref);
		r = mvm_error_reason(err, r, "no-template", ref);
	}
	strv_done(ret_ids);
	if (r < 0)
		return r;
	strv_add(ret_ids, id);
	return ret_ids->failed ? mvm_error_oom(err) : 0;
}

static int conclude(const struct mvm_verify_result *result, struct mvm_error *err)
{
	if (result->n_problems == 0)
		return 0;
	const struct mvm_verify_problem *first = result->problems[0];
	/* the text of a problem with the template itself names the template */
	int r = first->revision ? mvm_error_set(err, -EBADMSG, "%s@%.12s: %s", first->template_id,
						first->revision, first->text)
				: mvm_error_set(err, -EBADMSG, "%s", first->text);
	if (str_eq(first->file, "template.json"))
		return mvm_error_reason(err, r, "template-damaged", first->template_id);
	return mvm_error_reason(err, r, "revision-unsound", first->template_id);
}

int mvm_template_verify(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
			struct mvm_verify_result **ret, struct mvm_error *err)
{
	AUTO(mvm_verify_result) result = calloc(1, sizeof(*result));
	AUTO_DONE(strv) ids = { 0 };
	AUTO_DONE(progress_step) step = { 0 };
	struct progress_watch watch;
	char only[MVM_REVISION_SIZE] = "";

	*ret = NULL;
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = result ? choose(mvm, ref, &ids, only, err) : mvm_error_oom(err);
	if (r < 0)
		return r;
	struct run run = { .mvm = mvm, .result = result };
	run.files = (struct verify){ .step = &step, .problem = file_problem, .arg = &run };
	progress_begin(&step, progress, "verifying %s", ref ? ref : "all templates");
	r = check_all(&run, &ids, only[0] ? only : NULL);
	result->n_files = run.files.n_files;
	result->bytes = run.files.done_bytes;
	verify_done(&run.files);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "the check");
	if (r < 0)
		return mvm_error_oom(err); /* every other failure is a problem found */
	r = conclude(result, err);
	if (r == 0)
		progress_end(&step, "%zu revision%s", result->n_revisions,
			     result->n_revisions == 1 ? "" : "s");
	*ret = TAKE_PTR(result);
	return r;
}
