/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: write-image SOURCE IMAGE
 *
 * Makes an image from a folder or a tar as a build does, and syncs it.  tests/bench/image.py
 * measures this beside other programs that make images.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/own.h"
#include "image/image.h"

int main(int argc, char **argv)
{
	struct mvm_error err = { 0 };
	struct stat st;

	if (argc != 3) {
		fputs("usage: write-image SOURCE IMAGE\n", stderr);
		return 2;
	}
	AUTO_CLOSE int in = open(argv[1], O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (in < 0 || fd < 0 || fstat(in, &st) < 0) {
		fprintf(stderr, "write-image: %s\n", strerror(errno));
		return 1;
	}
	int r = S_ISDIR(st.st_mode) ? image_from_dir(in, argv[1], fd, NULL, NULL, &err)
				    : image_from_tar(in, argv[1], fd, NULL, &err);
	if (r == 0 && fsync(fd) < 0)
		r = mvm_error_set(&err, -errno, "fsync: %s", strerror(errno));
	if (r < 0)
		fprintf(stderr, "write-image: %s\n", err.text);
	return r < 0;
}
