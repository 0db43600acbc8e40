/* SPDX-License-Identifier: Apache-2.0 */
#include "image/elf64.h"
#include "image/module.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A kernel module: the ELF reader and the parser of .modinfo. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(module_list) l = { 0 };
	AUTO_FREE const struct module **order = NULL;
	struct elf elf;
	size_t n;

	if (elf_open(data, size, &elf) == 0)
		elf_has_note(&elf, "Xen", 18); /* any result is fine */
	if (module_add(&l, data, size, "kernel/overlay.ko", NULL) == 0)
		module_order(&l, &order, &n, NULL); /* fails if a dependency is missing */
	return 0;
}
