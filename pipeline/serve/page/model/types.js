/**
 * Types of the documents that the service and the page exchange, and of the page's own state. Times are seconds as
 * `video.currentTime` counts them; probabilities and shares range from 0 to 1.
 *
 * @typedef {number | string} PersonId
 *
 * @typedef {object} Job
 * @property {string} id
 * @property {string} name Name of the uploaded file.
 * @property {"queued" | "running" | "done" | "failed" | "cancelled" | "quarantined"} state
 * @property {string} created ISO 8601, UTC.
 * @property {string | null} started
 * @property {string | null} finished
 * @property {string} run Recognizer that classifies the clip.
 * @property {string | null} stage
 * @property {number} frames_done
 * @property {number | null} frames_total
 * @property {number | null} frames_per_second
 * @property {number | null} seconds_left
 * @property {{kind: string, message: string} | string | null} error
 * @property {{person: PersonId | null, label: string | null, probability: number | null}[]} answers
 * @property {boolean} [overlay] Whether there is a video with the skeletons drawn on it.
 * @property {number} [reviewed] Number of segments to learn from: a person has confirmed or labelled them.
 *
 * @typedef {object} SceneSegment A segment as the recognizer found it.
 * @property {string} id
 * @property {number} start
 * @property {number} end
 * @property {string} label
 * @property {number} probability
 * @property {number | null} unknown_score
 *
 * @typedef {object} ScenePerson A track, with what the recognizer says about it.
 * @property {PersonId | null} id Null for all persons together.
 * @property {number} start
 * @property {number} end
 * @property {{start: number, end: number, probabilities: number[]}[]} windows
 * @property {SceneSegment[]} segments
 *
 * @typedef {object} SceneDocument
 * @property {{width: number, height: number, duration: number, frame_rate: number}} video
 * @property {string[]} joints
 * @property {[number, number][]} bones
 * @property {string[]} classes
 * @property {ScenePerson[]} persons
 * @property {boolean} attention Whether the attention of the joints was recorded.
 *
 * @typedef {object} Segment A segment in the corrections, edited or not.
 * @property {string} id
 * @property {PersonId} person Identity after all swaps and joins.
 * @property {number} start
 * @property {number} end
 * @property {string | null} label
 * @property {"model" | "user"} source "user" once its label or times were changed by hand.
 * @property {boolean} rejected The label is wrong, and no other is given.
 * @property {boolean} reviewed A person has confirmed or changed it.
 *
 * @typedef {{kind: "swap", a: PersonId, b: PersonId, time: number}} Swap
 * @typedef {{kind: "join", from: PersonId, to: PersonId}} Join
 *
 * @typedef {object} Corrections
 * @property {number} version
 * @property {Segment[]} segments
 * @property {(Swap | Join)[]} identities In the order in which they were made.
 * @property {string[]} classes Names that the recognizer does not know.
 *
 * @typedef {{id: PersonId, start: number, end: number}} Track
 * @typedef {{person: PersonId, track: PersonId, start: number, end: number}} Piece Part of a track, with its identity.
 */

export {};
