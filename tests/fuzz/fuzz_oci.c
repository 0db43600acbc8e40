/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "image/oci_choose.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte is the kind of document that follows: i, m, f, c or s. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(oci_index) index = { 0 };
	AUTO_DONE(oci_manifest) manifest = { 0 };
	AUTO_DONE(oci_config) config = { 0 };
	AUTO_DONE(oci_saved_list) saved = { 0 };
	const struct oci_descriptor *d;
	struct oci_descriptor file;
	const struct oci_saved *s;
	const struct oci_platform platform = { .arch = "amd64", .amd64_level = 3 };

	if (size == 0)
		return 0;
	const char *text = (const char *)data + 1;
	switch (data[0]) {
	case 'i':
		if (oci_index_parse(text, size - 1, "fuzz", &index, NULL) == 0 &&
		    oci_choose_name(&index, NULL, "fuzz", NULL) > 0)
			oci_choose_platform(&index, &platform, false, "fuzz", &d, NULL);
		break;
	case 'm':
		oci_manifest_parse(text, size - 1, "fuzz", &manifest, NULL);
		break;
	case 'f':
		oci_file_parse(text, size - 1, "fuzz", &file, NULL);
		break;
	case 'c':
		if (oci_config_parse(text, size - 1, "fuzz", &config, NULL) == 0 &&
		    config.n > OCI_LAYERS_MAX)
			abort();
		break;
	case 's':
		if (oci_saved_parse(text, size - 1, "fuzz", &saved, NULL) == 0)
			oci_choose_saved(&saved, "v1", "fuzz", &s, NULL);
		break;
	default:
		break;
	}
	return 0;
}
