/* SPDX-License-Identifier: Apache-2.0 */
#include "run_choose.h"

#include <errno.h>
#include <mvm/artifact.h>
#include <mvm/build.h>
#include <mvm/store.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/own.h"
#include "base/str.h"
#include "kernel_offer.h"
#include "names.h"
#include "out.h"

#define SCHEME "docker://"

/* Does the word name an image, whatever templates there are? */
static bool names_image(const char *word)
{
	char end = word[strcspn(word, "@:/")];
	return str_starts(word, SCHEME) || end == ':' || end == '/';
}

/* Is the word a template's name, and not an image's?  -ENOENT if it is neither: an image of Docker
 * Hub needs a tag or the scheme, so that a mistyped template fetches nothing. */
static int is_template(struct cli_context *c, struct mvm *mvm, const char *word)
{
	AUTO_FREE char *id = strndup(word, strcspn(word, "@"));

	if (!id)
		return cli_error(c, -ENOMEM, "out of memory");
	if (names_image(word))
		return 0;
	int r = mvm_template_exists(mvm, id, NULL);
	if (r > 0)
		return r;
	cli_error(c, -ENOENT, "no template has the name '%s'", id);
	return mvm_error_hint(&c->err, -ENOENT,
			      "for an image of Docker Hub write " SCHEME "%s; 'mvm template list' "
			      "shows the templates",
			      word);
}

static int choose_artifact(struct cli_context *c, const struct args *a, struct mvm *mvm,
			   const char *ref, const char **ret, char **ret_made)
{
	struct mvm_pull_options options = MVM_PULL_OPTIONS_INIT;

	options.whole = str_eq(args_string(a, "lazy"), "off");
	int r = mvm_template_of_artifact(mvm, ref, &options, &c->progress, ret_made, &c->err);
	*ret = *ret_made;
	return r < 0 ? r : 0;
}

int run_choose_check(struct cli_context *c, const struct args *a)
{
	const char *word = args_at(a, 0);

	if (!args_given(a, "template") && str_empty(word))
		return cli_usage(c, "which template? name it with --template ID, or name an image "
				    "as in docker://debian:12");
	if (args_given(a, "template") && (word || args_flag(a, "pull")))
		return cli_usage(c, "--template runs a template; it goes with neither IMAGE nor "
				    "--pull");
	return word && names_image(word) ? check_name(c, VALUE_REMOTE, word, "IMAGE") : 0;
}

int run_choose(struct cli_context *c, const struct args *a, struct mvm *mvm, const char **ret,
	       char **ret_made)
{
	struct mvm_build_options options = MVM_BUILD_OPTIONS_INIT;
	const char *word = args_at(a, 0);

	*ret = word ? word : args_string(a, "template");
	if (!word && names_artifact(*ret))
		return choose_artifact(c, a, mvm, *ret, ret, ret_made);
	int r = word ? is_template(c, mvm, word) : 1;
	if (r > 0 && args_flag(a, "pull"))
		return cli_usage(c, "--pull is for an image, and '%s' is a template", word);
	if (r != 0)
		return r < 0 ? r : 0;
	options.force = args_flag(a, "pull");
	options.backend = args_string(a, "backend");
	r = mvm_template_of_image(mvm, word, &options, &c->progress, ret_made, &c->err);
	if (r < 0 && str_eq(c->err.reason, "image-is-template")) { /* somebody has pushed it */
		c->err = (struct mvm_error){ 0 };
		return choose_artifact(c, a, mvm, word, ret, ret_made);
	}
	r = kernel_offer(c, mvm, args_flag(a, "yes"), r);
	if (r > 0 && !*ret_made)
		r = mvm_template_of_image(mvm, word, &options, &c->progress, ret_made, &c->err);
	*ret = *ret_made;
	return r < 0 ? r : 0;
}
