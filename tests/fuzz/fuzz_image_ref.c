/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/image_ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a reference says can be said again, and means the same.  It never leaves a URL's path. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(image_ref) ref = { 0 }, again = { 0 };
	struct mvm_error err = { 0 };
	char text[2 * IMAGE_REF_MAX];

	size_t len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	memcpy(text, data, len);
	text[len] = '\0';
	if (image_ref_parse(text, &ref, &err) < 0) {
		if (!err.text[0])
			abort();
		return 0;
	}
	image_ref_is_loopback(ref.host);
	if (strpbrk(ref.path, "?#%@\\: ") || strstr(ref.path, "..") || strchr(ref.tag, '/') ||
	    strpbrk(ref.host, "/?#%@\\ "))
		abort();
	AUTO_FREE char *whole = str_printf("%s/%s:%s", ref.host, ref.path, ref.tag);
	/* a host without dot, colon or capital is one only for docker's "localhost" and our lower
	 * case of it */
	if (whole && image_ref_parse(whole, &again, NULL) == 0 && strchr(ref.host, '.') &&
	    (strcmp(again.host, ref.host) != 0 || strcmp(again.path, ref.path) != 0 ||
	     strcmp(again.tag, ref.tag) != 0))
		abort();
	return 0;
}
