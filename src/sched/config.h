/* SPDX-License-Identifier: MIT */
/*
 * What the rest of the scheduler needs to know of configurations: how one is
 * completed by the environment and the machine, and the settings one by one,
 * for whoever shows them.
 */
#ifndef ZS_SCHED_CONFIG_H
#define ZS_SCHED_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zsync/config.h"

/* A field that holds a number, and the variable that overrides it. */
struct zs_knob {
	const char *field;
	const char *variable;
	const char *advice;
	size_t offset;
	bool is_size;  /* size_t with a suffix; else uint32_t */
	bool has_auto; /* ZS_IDLE_SPIN_AUTO, "auto" */
	bool has_zero; /* which is below min, and means another field's value */
	uint64_t min;
	uint64_t max;
};

/* A bit of zs_config.flags. */
struct zs_switch {
	const char *name;
	const char *variable;
	uint32_t bit;
};

enum { ZS_NUM_KNOBS = 9, ZS_NUM_SWITCHES = 6 };
extern const struct zs_knob zs_knobs[ZS_NUM_KNOBS];
extern const struct zs_switch zs_switches[ZS_NUM_SWITCHES];
#define ZS_MODEL_VARIABLE "ZSYNC_EXECUTION_MODEL"

/* Bits of settings: the model, the knobs, the switches. */
#define ZS_SETTING_MODEL UINT32_C(1)
#define ZS_SETTING_KNOB(index) (UINT32_C(2) << (index))
#define ZS_SETTING_SWITCH(index) (UINT32_C(2) << (ZS_NUM_KNOBS + (index)))

/* Any thread. Of @config, which a preset made. */
uint64_t zs_config_get(const struct zs_config *config,
		       const struct zs_knob *knob);

/* Any thread. What the preset that @config started from holds. */
struct zs_config zs_config_of_preset(uint32_t preset);

/* A configuration and where it comes from. */
struct zs_config_origin {
	struct zs_config asked; /* by the program, then the environment */
	uint32_t overridden;	/* ZS_SETTING_... of the environment */
};

/* Any thread. Checks @config (NULL: zs_config_default()), and overrides it by
 * the environment. 0, or -EINVAL with a text. */
int zs_config_take(struct zs_config_origin *origin,
		   const struct zs_config *config);

/* Any thread. Puts what the machine decides in the place of zeros and autos;
 * @num_cpus are those that zs_cpus_allowed() counts. What the engine and the
 * stacks round or cut is not known here. */
void zs_config_complete(struct zs_config *config, uint32_t num_cpus);

#endif
