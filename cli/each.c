/* SPDX-License-Identifier: Apache-2.0 */
#include "each.h"

#include <errno.h>
#include <stdio.h>

#include "json.h"
#include "out.h"
#include "progress.h"

int each_name(struct cli_context *c, const struct args *a, const struct strv *names,
	      struct mvm *mvm, each_fn fn, const char *done)
{
	AUTO_DONE(jsonw) j = { 0 };
	int result = 0;

	jsonw_open(&j, NULL, '[');
	for (size_t i = 0; i < names->n; i++) {
		struct mvm_error err = { 0 };
		int r = fn(c, mvm, names->v[i], a, &err);
		if (r < 0 && result < 0)
			show_error(c, NULL); /* the one before */
		if (r < 0) {
			c->err = err;
			result = r;
			continue;
		}
		if (r == EACH_KEPT)
			note_error(c, &err);
		else if (!c->json)
			puts(names->v[i]); /* main looks at the stream's errors */
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "name", names->v[i]);
		jsonw_string(&j, "result", r == EACH_KEPT ? "kept" : done);
		jsonw_close(&j);
	}
	jsonw_close(&j);
	int r = c->json ? jsonw_print(&j, stdout) : 0;
	return result < 0 ? result : r;
}

int each_positional(struct cli_context *c, const struct args *a, each_fn fn, const char *done)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(strv) names = { 0 };

	for (size_t i = 0; i < a->n_positionals; i++)
		strv_add(&names, args_at(a, i));
	if (names.failed)
		return -ENOMEM;
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	return r < 0 ? r : each_name(c, a, &names, mvm, fn, done);
}
