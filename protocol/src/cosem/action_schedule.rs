//! Class 22, single action schedule (version 0): a script that runs at given times.

use super::class::{class, structure};
use super::credit::wire_enum;
pub use super::script_table::ScriptReference;
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, Date, Time};
use crate::codec::codec::{Encode, Result, Writer};

wire_enum! {
    /// Attribute 3: how many times there are and which wildcards their dates have.
    ScheduleType {
        /// One time, wildcards in the date allowed.
        OneWithWildcards = 1,
        /// Several, all with the same time of day, no wildcards.
        SameTime = 2,
        /// Several, all with the same time of day, wildcards allowed.
        SameTimeWithWildcards = 3,
        /// Several, times of day may differ, no wildcards.
        AnyTime = 4,
        /// Several, times of day may differ, wildcards allowed.
        AnyTimeWithWildcards = 5,
    }
}

structure! {
    /// A time at which the script runs.
    ExecutionTime {
        /// Time of day; hundredths are 0.
        time: Time,
        /// Date; wildcards repeat it.
        date: Date,
    }
}

class! {
    /// Single action schedule.
    ActionSchedule = 22, version 0;
    attributes {
        /// What runs.
        2 EXECUTED_SCRIPT: (ScriptReference), executed_script, set_executed_script;
        /// Which times there may be.
        3 TYPE: (ScheduleType), schedule_type, set_schedule_type;
        /// When.
        4 EXECUTION_TIME: [ExecutionTime], execution_time, set_execution_time;
    }
    methods {}
}
