/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel_offer.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "confirm.h"
#include "handles.h"
#include "progress.h"

/* The question names the download and its source.  mvm_kernel_fetch() then prints the package's
 * address. */
static const char question[] =
	"there is no guest kernel yet. Download Debian's kernel for cloud guests with this host's "
	"apt, from the mirrors in apt's sources, and import it into the data folder (nothing is "
	"installed)";

static int fetch(struct cli_context *c, struct mvm *mvm)
{
	AUTO(mvm_kernel) kernel = NULL;
	char text[200];

	c->err = (struct mvm_error){ 0 };
	int r = mvm_kernel_fetch(mvm, NULL, false, &c->progress, &kernel, &c->err);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "guests boot Debian's kernel %.100s now ('mvm kernel list')",
		 kernel->version);
	note(c, text);
	return 1;
}

int kernel_offer(struct cli_context *c, struct mvm *mvm, bool yes, int result)
{
	const struct mvm_error build = c->err;

	if (result >= 0 || !str_eq(build.reason, "kernel-needed"))
		return result;
	if (yes)
		return fetch(c, mvm);
	if (c->json || !can_ask())
		return result;
	int r = confirm(c, question);
	if (r == -ECANCELED) {
		c->err = build;
		return result;
	}
	return r < 0 ? r : fetch(c, mvm);
}
