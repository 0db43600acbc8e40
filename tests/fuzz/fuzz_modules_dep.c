/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "image/module.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* modules.dep: the list of modules and their dependencies. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(module_list) l = { 0 };
	AUTO_FREE const struct module **order = NULL;
	AUTO_FREE char *text = malloc(size + 1);
	size_t n;

	if (!text)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	if (module_read_dep(&l, text, size, NULL) == 0)
		module_order(&l, &order, &n, NULL); /* fails if a dependency is missing */
	return 0;
}
