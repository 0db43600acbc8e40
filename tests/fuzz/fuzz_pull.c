/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pull/credentials.h"
#include "pull/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte is the kind of document that follows: c or s. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(credentials) credentials = { 0 };
	AUTO_DONE(settings) settings = { 0 };
	AUTO_FREE char *program = NULL;
	struct mvm_error err = { 0 };
	bool found;

	if (size == 0)
		return 0;
	const char *text = (const char *)data + 1;
	if (data[0] == 'c') {
		if (credentials_parse(text, size - 1, "fuzz", "r.io", "a/b", &credentials, &program,
				      &err) < 0 &&
		    !err.text[0])
			abort();
		if (program && strchr(program, '/'))
			abort();
		if (!credentials.user != !credentials.password)
			abort();
	} else if (settings_parse(text, size - 1, "fuzz", "r.io", &settings, &found, &err) < 0 &&
		   !err.text[0]) {
		abort();
	}
	return 0;
}
