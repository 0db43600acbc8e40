/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_PRESETS_H
#define TEMPLATE_PRESETS_H

/* What `template init` writes. */

#define PRESET_FILES_MAX 12

enum preset_file_kind {
	PRESET_TEXT,	/* content is the text; every @ID@ becomes the template's name */
	PRESET_LINK,	/* content is the target of a symbolic link */
	PRESET_BUSYBOX, /* the host's static busybox */
	PRESET_APPLETS, /* a folder: links to busybox in it for each command that it is */
	PRESET_FOLDER,	/* an empty folder */
};

struct preset_file {
	const char *path; /* relative; NULL ends the list; folders on the way are made */
	enum preset_file_kind kind;
	const char *content;
};

struct preset {
	const char *name;
	struct preset_file files[PRESET_FILES_MAX + 1];
};

extern const struct preset presets[]; /* ends with a name of NULL; the default one first */

#endif
