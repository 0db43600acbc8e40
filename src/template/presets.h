/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_PRESETS_H
#define TEMPLATE_PRESETS_H

/* The files that `template init` writes. */

#define PRESET_FILES_MAX 12

enum preset_file_kind {
	PRESET_TEXT,	/* content is the text; every @ID@ becomes the template's name */
	PRESET_LINK,	/* content is the target of a symbolic link */
	PRESET_BUSYBOX, /* a copy of the host's static busybox */
	PRESET_APPLETS, /* a folder with busybox in it: add a link for each of its commands */
	PRESET_FOLDER,	/* an empty folder */
};

struct preset_file {
	const char *path; /* relative; parent folders are made; NULL ends the list */
	enum preset_file_kind kind;
	const char *content;
};

struct preset {
	const char *name;
	struct preset_file files[PRESET_FILES_MAX + 1];
};

extern const struct preset presets[]; /* the default preset first; a NULL name ends the list */

#endif
