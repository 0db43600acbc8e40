/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/own.h"
#include "image/kernel_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A bzImage: header, payload, and the ELF in it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kernel_info info = { 0 };
	AUTO_FREE char *elf = NULL;
	size_t len;

	if (kernel_image_unpack(data, size, "fuzz", &elf, &len, NULL) == 0)
		kernel_image_describe(elf, len, "fuzz", &info, NULL); /* may fail */
	return 0;
}
