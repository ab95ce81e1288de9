BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'search');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'identity','{"space": "sweep.space:space", "objectives": ["val_accuracy"], "pinned": {"backbone": ["MobileNet"], "unfrozen_blocks": [0], "head_units": [0], "image_size": [32], "num_epochs": [3], "validation_fraction": [0.2]}, "facts": {"backbones": ["MobileNet"], "image_size": 32}, "trials": {"dataset": "simulated", "dataset_fingerprint": "ed0f27d6e03ab7fbbdb3208a03dab90f48cb5fd54f791a7339646b34d40a524e", "max_images": 1000, "image_size": 32, "preprocessing": "divide_by_255", "test_fraction": 0.3, "validation_fraction": 0.2, "stratified": true, "group_by_sky": false, "groups_fingerprint": "", "split_seed": 0, "scored_on": "validation", "augmentation": false, "backbone": "MobileNet", "weights": "imagenet", "weights_requested": "imagenet", "weights_fingerprint": "", "unfrozen_blocks": 0, "unfrozen_batchnorm": "train", "precision": "float32", "head_units": 0, "head_dropout": 0.0, "optimizer": "adam", "learning_rate": 0.001, "momentum": 0.0, "weight_decay": 0.0, "class_weighting": "none", "batch_size": 16, "num_epochs": 3, "seed": 0, "shuffle_seed": 0}}');
INSERT INTO "study_user_attributes" VALUES(2,1,'driver','{"owner": "00000000000000000000000000000000", "host": "host", "processes": "0", "pid": 4991, "command": "python -m sweep.run --search optuna --trials 10 --out results/search", "generation": 1, "beat": 0, "ended": true}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,5.8823529411764705066e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,2,1,1.76470588235294129075e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,3,1,2.35294117647058820264e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,4,1,2.35294117647058820264e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,5,1,2.35294117647058820264e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'weights',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["imagenet", "random"]}}');
INSERT INTO "trial_params" VALUES(2,1,'preprocessing',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["divide_by_255", "backbone"]}}');
INSERT INTO "trial_params" VALUES(3,1,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "sgd", "rmsprop"]}}');
INSERT INTO "trial_params" VALUES(4,1,'learning_rate@sgd',6.97661091053110721249e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(5,1,'weight_decay',3.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0.0, 1e-05, 0.0001, 0.001, 0.01]}}');
INSERT INTO "trial_params" VALUES(6,1,'momentum@sgd',8.85758946480958542224e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(7,1,'augmentation',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(8,1,'class_weighting',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "balanced"]}}');
INSERT INTO "trial_params" VALUES(9,2,'weights',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["imagenet", "random"]}}');
INSERT INTO "trial_params" VALUES(10,2,'preprocessing',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["divide_by_255", "backbone"]}}');
INSERT INTO "trial_params" VALUES(11,2,'optimizer',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "sgd", "rmsprop"]}}');
INSERT INTO "trial_params" VALUES(12,2,'learning_rate@rmsprop',0.000201184497800975,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(13,2,'weight_decay',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0.0, 1e-05, 0.0001, 0.001, 0.01]}}');
INSERT INTO "trial_params" VALUES(14,2,'augmentation',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(15,2,'class_weighting',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "balanced"]}}');
INSERT INTO "trial_params" VALUES(16,3,'weights',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["imagenet", "random"]}}');
INSERT INTO "trial_params" VALUES(17,3,'preprocessing',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["divide_by_255", "backbone"]}}');
INSERT INTO "trial_params" VALUES(18,3,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "sgd", "rmsprop"]}}');
INSERT INTO "trial_params" VALUES(19,3,'learning_rate@sgd',1.70029638725326110023e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(20,3,'weight_decay',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0.0, 1e-05, 0.0001, 0.001, 0.01]}}');
INSERT INTO "trial_params" VALUES(21,3,'momentum@sgd',8.29706597088612163304e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(22,3,'augmentation',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(23,3,'class_weighting',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "balanced"]}}');
INSERT INTO "trial_params" VALUES(24,4,'weights',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["imagenet", "random"]}}');
INSERT INTO "trial_params" VALUES(25,4,'preprocessing',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["divide_by_255", "backbone"]}}');
INSERT INTO "trial_params" VALUES(26,4,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "sgd", "rmsprop"]}}');
INSERT INTO "trial_params" VALUES(27,4,'learning_rate@sgd',1.08396596868263958568e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(28,4,'weight_decay',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0.0, 1e-05, 0.0001, 0.001, 0.01]}}');
INSERT INTO "trial_params" VALUES(29,4,'momentum@sgd',8.35942329321385124707e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(30,4,'augmentation',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(31,4,'class_weighting',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "balanced"]}}');
INSERT INTO "trial_params" VALUES(32,5,'weights',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["imagenet", "random"]}}');
INSERT INTO "trial_params" VALUES(33,5,'preprocessing',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["divide_by_255", "backbone"]}}');
INSERT INTO "trial_params" VALUES(34,5,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "sgd", "rmsprop"]}}');
INSERT INTO "trial_params" VALUES(35,5,'learning_rate@sgd',1.2325352620970916862e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(36,5,'weight_decay',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0.0, 1e-05, 0.0001, 0.001, 0.01]}}');
INSERT INTO "trial_params" VALUES(37,5,'momentum@sgd',5.7172089604930709239e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(38,5,'augmentation',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(39,5,'class_weighting',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "balanced"]}}');
INSERT INTO "trial_params" VALUES(40,6,'weights',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["imagenet", "random"]}}');
INSERT INTO "trial_params" VALUES(41,6,'preprocessing',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["divide_by_255", "backbone"]}}');
INSERT INTO "trial_params" VALUES(42,6,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "sgd", "rmsprop"]}}');
INSERT INTO "trial_params" VALUES(43,6,'learning_rate@sgd',2.86468312927031789564e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(44,6,'weight_decay',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0.0, 1e-05, 0.0001, 0.001, 0.01]}}');
INSERT INTO "trial_params" VALUES(45,6,'momentum@sgd',0.948107105784982,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(46,6,'augmentation',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(47,6,'class_weighting',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "balanced"]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'fields','{"backbone": "MobileNet", "weights": "random", "preprocessing": "backbone", "unfrozen_blocks": 0, "head_units": 0, "head_dropout": 0.0, "optimizer": "sgd", "learning_rate": 0.06976610910531107, "weight_decay": 0.001, "momentum": 0.8857589464809585, "augmentation": false, "class_weighting": "balanced", "image_size": 32, "num_epochs": 3, "validation_fraction": 0.2}');
INSERT INTO "trial_user_attributes" VALUES(2,1,'trial_id','"5aa80f63e65181ed"');
INSERT INTO "trial_user_attributes" VALUES(3,2,'fields','{"backbone": "MobileNet", "weights": "random", "preprocessing": "backbone", "unfrozen_blocks": 0, "head_units": 0, "head_dropout": 0.0, "optimizer": "rmsprop", "learning_rate": 0.000201184497800975, "weight_decay": 1e-05, "augmentation": true, "class_weighting": "balanced", "image_size": 32, "num_epochs": 3, "validation_fraction": 0.2}');
INSERT INTO "trial_user_attributes" VALUES(4,2,'trial_id','"b84a44c6db6e76fd"');
INSERT INTO "trial_user_attributes" VALUES(5,3,'fields','{"backbone": "MobileNet", "weights": "imagenet", "preprocessing": "divide_by_255", "unfrozen_blocks": 0, "head_units": 0, "head_dropout": 0.0, "optimizer": "sgd", "learning_rate": 0.0001700296387253261, "weight_decay": 1e-05, "momentum": 0.8297065970886122, "augmentation": true, "class_weighting": "none", "image_size": 32, "num_epochs": 3, "validation_fraction": 0.2}');
INSERT INTO "trial_user_attributes" VALUES(6,3,'trial_id','"3c99983ff1c59076"');
INSERT INTO "trial_user_attributes" VALUES(7,4,'fields','{"backbone": "MobileNet", "weights": "imagenet", "preprocessing": "divide_by_255", "unfrozen_blocks": 0, "head_units": 0, "head_dropout": 0.0, "optimizer": "sgd", "learning_rate": 0.010839659686826396, "weight_decay": 0.0001, "momentum": 0.8359423293213851, "augmentation": false, "class_weighting": "none", "image_size": 32, "num_epochs": 3, "validation_fraction": 0.2}');
INSERT INTO "trial_user_attributes" VALUES(8,4,'trial_id','"878810307dec64fd"');
INSERT INTO "trial_user_attributes" VALUES(9,5,'fields','{"backbone": "MobileNet", "weights": "imagenet", "preprocessing": "divide_by_255", "unfrozen_blocks": 0, "head_units": 0, "head_dropout": 0.0, "optimizer": "sgd", "learning_rate": 0.00012325352620970917, "weight_decay": 0.0001, "momentum": 0.5717208960493071, "augmentation": true, "class_weighting": "none", "image_size": 32, "num_epochs": 3, "validation_fraction": 0.2}');
INSERT INTO "trial_user_attributes" VALUES(10,5,'trial_id','"9ceba0cf99bac96f"');
INSERT INTO "trial_user_attributes" VALUES(11,6,'fields','{"backbone": "MobileNet", "weights": "imagenet", "preprocessing": "backbone", "unfrozen_blocks": 0, "head_units": 0, "head_dropout": 0.0, "optimizer": "sgd", "learning_rate": 0.0002864683129270318, "weight_decay": 1e-05, "momentum": 0.948107105784982, "augmentation": false, "class_weighting": "balanced", "image_size": 32, "num_epochs": 3, "validation_fraction": 0.2}');
INSERT INTO "trial_user_attributes" VALUES(12,6,'trial_id','"0c92e9fcebfbefc1"');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,5.8823529411764705066e-02,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,1.76470588235294129075e-01,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,2.35294117647058820264e-01,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,1.17647058823529410132e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-30 07:24:36.922292','2026-11-30 07:25:30.597224');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-30 07:24:36.984745','2026-11-30 07:25:32.306722');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-30 07:25:30.653613','2026-11-30 07:25:46.627220');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2026-11-30 07:25:30.679271','2026-11-30 07:25:47.604397');
INSERT INTO "trials" VALUES(5,4,1,'RUNNING','2026-11-30 07:25:46.667913',NULL);
INSERT INTO "trials" VALUES(6,5,1,'RUNNING','2026-11-30 07:25:46.687243',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
