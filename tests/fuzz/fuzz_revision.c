/* SPDX-License-Identifier: Apache-2.0 */
/* A revision.json from a damaged disk or a hostile peer.  A file that can be read can be written,
 * and writing it again gives the same bytes. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/model_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 }, back = { 0 };
	AUTO_DONE(mvm_template_kind) kind = { 0 };
	AUTO_FREE char *text = NULL, *again = NULL;
	struct mvm_error err = { 0 };

	mvm_template_kind_parse((const char *)data, size, "kind", &kind, NULL);
	int r = mvm_template_revision_parse((const char *)data, size, "revision.json", &rev, &err);
	assert(r == err.code && r <= 0);
	if (r < 0)
		return 0;
	r = mvm_template_revision_format(&rev, &text, NULL);
	assert(r == 0);
	r = mvm_template_revision_parse(text, strlen(text), "revision.json", &back, &err);
	assert(r == 0);
	r = mvm_template_revision_format(&back, &again, NULL);
	assert(r == 0 && strcmp(text, again) == 0);
	return 0;
}
