/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/file.h"
#include "image/oci_archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The members of an archive lie where oci_archive_find() says. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "index.json", "manifest.json", "a/layer.tar", "" };
	AUTO(oci_archive) a = NULL;
	uint64_t offset, len;

	AUTO_CLOSE int fd = memfd_create("archive", MFD_CLOEXEC);
	if (fd < 0 || file_write_all(fd, data, size) < 0 ||
	    oci_archive_open(fd, "fuzz", &a, NULL) < 0)
		return 0;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (oci_archive_find(a, names[i], &offset, &len) == 0 &&
		    (offset > size || len > size - offset))
			abort();
	}
	return 0;
}
