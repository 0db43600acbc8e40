/* SPDX-License-Identifier: Apache-2.0 */
#include "model/strings.h"

#include <errno.h>
#include <stdlib.h>

void mvm_strings_done(struct mvm_strings *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct mvm_strings){ 0 };
}

int strings_take(struct strv *from, struct mvm_strings *ret)
{
	char **v = from->failed ? NULL : from->v;
	if (!v && !from->failed)
		v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	mvm_strings_done(ret);
	*ret = (struct mvm_strings){ .v = v, .n = from->n };
	*from = (struct strv){ 0 };
	return 0;
}

int strings_copy(const struct mvm_strings *from, struct mvm_strings *ret)
{
	AUTO_DONE(strv) copy = { 0 };

	if (!from->v) {
		mvm_strings_done(ret);
		return 0;
	}
	for (size_t i = 0; i < from->n; i++)
		strv_add(&copy, from->v[i]);
	return strings_take(&copy, ret);
}
