/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target on every file of a folder, so that the corpus is an ordinary test.
 *
 *	replay FOLDER
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define INPUT_MAX (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	AUTO_CLOSE int dir_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_DONE(strv) names = { 0 };
	int r = dir_fd < 0 ? dir_fd : dir_list(dir_fd, &names);
	if (r < 0 || names.n == 0) {
		fprintf(stderr, "%s: no corpus in '%s'\n", argv[0], argv[1]);
		return 1;
	}
	for (size_t i = 0; i < names.n; i++) {
		AUTO_FREE char *data = NULL;
		size_t len = 0;
		r = file_read_at(dir_fd, names.v[i], INPUT_MAX, &data, &len);
		if (r < 0) {
			fprintf(stderr, "%s: %s\n", names.v[i], strerror(-r));
			return 1;
		}
		/* a copy of exactly this size, so that a sanitizer notices a read beyond it */
		AUTO_FREE uint8_t *exact = malloc(len ? len : 1);
		if (!exact)
			return 1;
		memcpy(exact, data, len);
		(void)LLVMFuzzerTestOneInput(exact, len);
	}
	printf("%zu inputs\n", names.n);
	return 0;
}
