/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "image/deb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever the headers say, the member lies within the file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct deb_member m = { 0 };
	AUTO_CLOSE int fd = memfd_create("deb", MFD_CLOEXEC);

	if (fd < 0 || file_write_all(fd, data, size) < 0)
		return 0;
	if (deb_is(fd) > 0 && deb_find_data(fd, "fuzz", &m, NULL) == 0 &&
	    (m.offset > size || m.size > size - m.offset))
		abort();
	return 0;
}
