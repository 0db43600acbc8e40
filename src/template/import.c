/* SPDX-License-Identifier: Apache-2.0 */
/* A file becomes a revision. */
#include <errno.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/progress.h"
#include "model/name.h"
#include "template/artifact.h"

static int find_id(const struct artifact *a, const char *wanted, const char **ret,
		   struct mvm_error *err)
{
	const char *id = wanted ? wanted : a->tag;

	if (!wanted && (!a->tag || !name_valid(NAME_TEMPLATE, a->tag))) {
		int r = mvm_error_set(err, -EINVAL, "'%s' does not say what to call the template",
				      a->files.path);
		return mvm_error_hint(err, r, "give the template's name behind the file's");
	}
	*ret = id;
	return name_check(NAME_TEMPLATE, id, err);
}

static int import(struct mvm *mvm, const char *path, const struct mvm_import_options *options,
		  const struct mvm_progress *progress, struct mvm_artifact_result *result,
		  struct mvm_error *err)
{
	AUTO_DONE(artifact) a = ARTIFACT_NONE;
	struct artifact_receive how = { .image_only = options->image_only,
					.no_wait = options->no_wait };

	char signer[DIGEST_HEX_SIZE];
	int r = artifact_open(path, options->tag, &a, err);
	if (r == 0)
		r = find_id(&a, options->id, &how.id, err);
	if (r == 0)
		r = artifact_signer(mvm->store, &a, NULL, signer, err);
	if (r < 0)
		return r;
	how.signed_by = r > 0 ? signer : NULL;
	r = artifact_receive(mvm, &a, &how, progress, result, err);
	return r < 0 ? mvm_error_context(err, r, "'%s'", path) : 0;
}

int mvm_template_import(struct mvm *mvm, const char *path, const struct mvm_import_options *options,
			const struct mvm_progress *progress, struct mvm_artifact_result *ret,
			struct mvm_error *err)
{
	struct mvm_artifact_result result = { 0 };
	struct mvm_import_options taken;
	struct progress_watch watch;

	int r = mvm_struct_take(&taken, sizeof(taken), STRUCT_END(struct mvm_import_options, id),
				options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = import(mvm, path, &taken, progress, &result, err);
	if (r == 0)
		artifact_result_give(ret, &result);
	return r;
}
